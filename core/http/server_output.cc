#include "http/server_output.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <sys/socket.h>

#include "http/chunked.h"
#include "http/send_pieces.h"

namespace tidegate::http {

namespace {

// iovec has no const; what is sent is never written to.
iovec piece(std::string_view bytes) noexcept { return {const_cast<char*>(bytes.data()), bytes.size()}; }

std::size_t total(std::span<const iovec> pieces) noexcept {
  std::size_t sum = 0;
  for (const iovec& part : pieces) sum += part.iov_len;
  return sum;
}

// Appends to a block of memory that is known to be large enough.
class Writer {
 public:
  explicit Writer(char* at) noexcept : start_(at), at_(at) {}
  void text(std::string_view bytes) noexcept {
    if (bytes.empty()) return;
    std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void number(std::uint64_t value) noexcept { at_ = std::to_chars(at_, at_ + 20, value).ptr; }
  std::size_t written() const noexcept { return static_cast<std::size_t>(at_ - start_); }

 private:
  char* start_;
  char* at_;
};

}  // namespace

bool ResponseOutput::begin(const Head& head) noexcept {
  bool keep = head.keep_alive;
  suppressed_ = head.head_request || head.framing.kind == Framing::Kind::none;
  remaining_ = head.framing.length;
  switch (head.framing.kind) {
    case Framing::Kind::none: mode_ = Mode::none; break;
    case Framing::Kind::fixed: mode_ = Mode::fixed; break;
    case Framing::Kind::stream: mode_ = head.http10 ? Mode::until_close : Mode::chunked; break;
  }
  if (mode_ == Mode::until_close && !suppressed_) keep = false;
  started_ = true;
  body_bytes_ = 0;

  const std::string_view reason = reason_phrase(head.status);
  const std::size_t most = 128 + reason.size() + head.date_line.size() + head.block.size();
  char* room = out_.prepare(most);
  if (room == nullptr) {
    failed_ = true;
    return false;
  }
  Writer writer(room);
  writer.text("HTTP/1.1 ");
  writer.number(static_cast<unsigned>(std::clamp(head.status, 100, 999)));
  writer.text(" ");
  writer.text(reason);
  writer.text("\r\n");
  writer.text(head.date_line);
  writer.text(head.block);
  if (mode_ == Mode::fixed) {
    writer.text("Content-Length: ");
    writer.number(remaining_);
    writer.text("\r\n");
  } else if (mode_ == Mode::chunked) {
    writer.text("Transfer-Encoding: chunked\r\n");
  }
  if (!keep) {
    writer.text("Connection: close\r\n");
  } else if (head.http10) {
    writer.text("Connection: keep-alive\r\n");
  }
  writer.text("\r\n");
  out_.commit(writer.written());
  return keep;
}

ResponseOutput::Result ResponseOutput::write(std::span<const iovec> data) noexcept {
  while (data.size() > max_pieces) {
    const auto group = data.first(max_pieces);
    if (write_group(group, total(group), {}) == Result::failed) return Result::failed;
    data = data.subspan(max_pieces);
  }
  return write_group(data, total(data), {});
}

ResponseOutput::Result ResponseOutput::end(std::span<const iovec> data, std::string_view trailer) noexcept {
  while (data.size() > max_pieces) {
    const auto group = data.first(max_pieces);
    if (write_group(group, total(group), {}) == Result::failed) return Result::failed;
    data = data.subspan(max_pieces);
  }
  if (mode_ == Mode::fixed && !suppressed_ && total(data) < remaining_) {
    failed_ = true;  // the client must not take this for a whole response
    return Result::failed;
  }
  if (mode_ != Mode::chunked || suppressed_) return write_group(data, total(data), {});
  if (trailer.empty()) return write_group(data, total(data), last_chunk);
  // Trailers are rare: their block is copied behind the last data.
  if (write_group(data, total(data), {}) == Result::failed) return Result::failed;
  std::array<iovec, 4> pieces{iovec{}, piece("0\r\n"), piece(trailer), piece("\r\n")};
  return gather(pieces);
}

// One group: what is queued, "<hex>\r\n", the data, "\r\n" and the tail, in one sendmsg.
ResponseOutput::Result ResponseOutput::write_group(std::span<const iovec> data, std::size_t size,
                                                   std::string_view tail) noexcept {
  if (failed_) return Result::failed;
  body_bytes_ += size;
  if (suppressed_) return flush();
  if (mode_ == Mode::fixed) {
    if (size > remaining_) {
      failed_ = true;
      return Result::failed;
    }
    remaining_ -= size;
  }
  std::array<iovec, max_pieces + 4> pieces;
  std::array<char, 20> chunk_head;
  std::size_t count = 1;  // the first is for what is queued
  const bool chunk = mode_ == Mode::chunked && size != 0;
  if (chunk) pieces[count++] = {chunk_head.data(), write_chunk_head(chunk_head.data(), size)};
  count = static_cast<std::size_t>(
      std::copy(data.begin(), data.end(), pieces.begin() + static_cast<std::ptrdiff_t>(count)) -
      pieces.begin());
  if (chunk) pieces[count++] = piece(chunk_end);
  if (!tail.empty()) pieces[count++] = piece(tail);
  return gather({pieces.data(), count});
}

// Sends what is queued and then the pieces; pieces[0] is filled in here.
ResponseOutput::Result ResponseOutput::gather(std::span<iovec> pieces) noexcept {
  if (failed_) return Result::failed;
  if (blocked_) return queue(pieces.subspan(1), 0);
  const std::size_t queued = out_.size();
  pieces[0] = {out_.data(), queued};
  if (queued == 0) pieces = pieces.subspan(1);
  const std::size_t wanted = total(pieces);
  if (wanted == 0) return Result::sent;

  const ssize_t sent = send_pieces(fd_, pieces);
  if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != ENOMEM) {
    failed_ = true;
    return Result::failed;
  }
  const std::size_t taken = sent > 0 ? static_cast<std::size_t>(sent) : 0;
  taken_ += taken;
  if (taken == wanted) {
    if (queued != 0) out_.release();
    return Result::sent;
  }
  blocked_ = true;
  if (queued != 0) {
    out_.consume(std::min(taken, queued));
    pieces = pieces.subspan(1);
  }
  return queue(pieces, taken > queued ? taken - queued : 0);
}

ResponseOutput::Result ResponseOutput::queue(std::span<const iovec> pieces, std::size_t skip) noexcept {
  for (const iovec& part : pieces) {
    const std::size_t skipped = std::min(skip, part.iov_len);
    skip -= skipped;
    if (!out_.append({static_cast<const char*>(part.iov_base) + skipped, part.iov_len - skipped})) {
      failed_ = true;
      return Result::failed;
    }
  }
  return out_.empty() ? Result::sent : Result::pending;
}

ResponseOutput::Result ResponseOutput::raw(std::string_view bytes) noexcept {
  std::array<iovec, 2> pieces{iovec{}, piece(bytes)};
  return gather(pieces);
}

ResponseOutput::Result ResponseOutput::flush() noexcept {
  if (failed_) return Result::failed;
  blocked_ = false;
  if (out_.empty()) return Result::sent;
  std::array<iovec, 1> pieces{};
  return gather(pieces);
}

void ResponseOutput::reset() noexcept {
  mode_ = Mode::none;
  started_ = suppressed_ = false;
  remaining_ = body_bytes_ = 0;
}

}  // namespace tidegate::http
