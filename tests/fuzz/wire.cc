#include "wire.h"

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>

namespace tidegate::fuzz {

std::size_t Socket::send(std::string_view bytes) noexcept {
  if (!fd_ || bytes.empty()) return 0;
  const auto n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && errno != EAGAIN) broken = true;
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

bool Socket::receive(std::size_t most) noexcept {
  char buffer[16384];
  bool fresh = false;
  while (open() && !eof && !broken && most > 0) {
    const auto n = ::recv(fd_.get(), buffer, std::min(most, sizeof buffer), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return fresh;
    fresh = true;
    if (n < 0) broken = true;
    if (n == 0) eof = true;
    if (n <= 0) return true;
    in.append(buffer, static_cast<std::size_t>(n));
    most -= static_cast<std::size_t>(n);
  }
  return fresh;
}

void Socket::fin() noexcept {
  if (fd_) ::shutdown(fd_.get(), SHUT_WR);
}
void Socket::close_gently() noexcept { fd_.reset(); }
void Socket::reset() noexcept {
  if (!fd_) return;
  const linger now{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  fd_.reset();
}

void RequestReader::read(const std::string& all) {
  while (!bad && (in_body_ ? read_body(all) : read_head(all))) {
  }
}

bool RequestReader::read_head(const std::string& all) {
  if (at_ == all.size()) return false;
  http::RequestHead head;
  const auto result = parser_.parse({all.data() + at_, all.size() - at_}, head);
  if (result.need_more()) return false;
  if (result.failed()) {
    bad = true;
    why = std::string(result.code) + " at byte " + std::to_string(at_);
    return false;
  }
  at_ += result.consumed;
  now_ = {std::string(head.method),
          std::string(head.path),
          std::string(head.value("x-request-id")),
          std::string(head.host),
          std::string(head.value("x-leg")),
          std::string(head.value("x-plan")),
          {},
          head.expect_continue};
  in_body_ = true;
  chunked_ = head.chunked;
  left_ = head.content_length.value_or(0);
  chunks_.reset();
  return true;
}

bool RequestReader::read_body(const std::string& all) {
  if (!chunked_) {
    const std::size_t take = std::min<std::size_t>(left_, all.size() - at_);
    now_.body.append(all, at_, take);
    at_ += take;
    left_ -= take;
    if (left_ > 0) return false;
  }
  for (bool done = !chunked_; !done;) {
    const auto step = chunks_.next({all.data() + at_, all.size() - at_});
    at_ += step.consumed;
    using Event = http::ChunkedDecoder::Event;
    if (step.event == Event::need_more) return false;
    if (step.event == Event::data) now_.body.append(step.data.data(), step.data.size());
    if (step.event == Event::done) done = true;
    if (step.event == Event::error) {
      bad = true;
      why = chunks_.error();
      return false;
    }
  }
  in_body_ = false;
  complete.push_back(std::move(now_));
  now_ = {};
  return true;
}

namespace {

// Takes one body off `all` from `at` on.
void take_body(const std::string& all, std::size_t& at, bool ended, http::BodyKind kind, std::uint64_t length,
               Response& out) {
  out.until_close = kind == http::BodyKind::until_close;
  if (kind != http::BodyKind::chunked) {
    if (kind == http::BodyKind::none) length = 0;
    if (out.until_close) length = all.size() - at;
    const std::size_t take = std::min<std::size_t>(length, all.size() - at);
    out.body.assign(all, at, take);
    at += take;
    out.whole = out.until_close ? ended : take == length;
    return;
  }
  http::ChunkedDecoder chunks;
  for (;;) {
    const auto step = chunks.next({all.data() + at, all.size() - at});
    at += step.consumed;
    using Event = http::ChunkedDecoder::Event;
    if (step.event == Event::error)
      throw Failure("a client got broken chunks: " + std::string(chunks.error()));
    if (step.event == Event::data) out.body.append(step.data.data(), step.data.size());
    out.whole = step.event == Event::done;
    if (step.event == Event::need_more || out.whole) return;
  }
}

}  // namespace

std::vector<Response> read_responses(const std::string& all, bool ended, const std::vector<Message>& requests,
                                     std::size_t& interim) {
  std::vector<Response> responses;
  http::ResponseParser parser;
  for (std::size_t at = 0; at < all.size();) {
    http::ResponseHead head;
    const auto result = parser.parse({all.data() + at, all.size() - at}, head);
    if (result.failed())
      throw Failure("a client got something that is no response: " + std::string(result.message) + ": " +
                    all.substr(at, 80) + " in " + all);
    if (result.need_more()) break;
    if (!responses.empty() && responses.back().closes)
      throw Failure("a client got a response behind one that closes the connection: " +
                    all.substr(0, at + 200));
    at += result.consumed;
    if (head.informational()) {
      ++interim;
      continue;
    }
    // What the server says of itself, a 408 perhaps, has no id and may come before the rest of a HEAD
    // request.
    const bool is_head = responses.size() < requests.size() && requests[responses.size()].method == "HEAD" &&
                         head.find("x-request-id") != nullptr;
    const auto kind = http::response_body_kind(head, is_head);
    Response& response = responses.emplace_back();
    response.status = head.status;
    response.request_id = head.value("x-request-id");
    response.type = head.value("content-type");
    // The parser takes a head without a length for one whose body ends with the connection; to HEAD it is
    // none.
    response.closes = is_head ? head.value("connection") == "close" : !head.keep_alive;
    take_body(all, at, ended, kind, head.content_length.value_or(0), response);
    if (!response.whole) break;
  }
  return responses;
}

}  // namespace tidegate::fuzz
