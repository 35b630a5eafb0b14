// The reading half of a connection to a worker: from received bytes to heads and pieces of body.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "http/upstream_connection.h"

namespace tidegate::http {

void UpstreamConnection::read_some() noexcept {
  auto scratch = pool_.loop.scratch();
  while (true) {
    ssize_t n = ::recv(socket_.get(), scratch.data(), scratch.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return on_eof(n < 0 ? errno : 0);
    got_bytes_ = true;
    drained_ = static_cast<std::size_t>(n) < scratch.size();
    consume({scratch.data(), static_cast<std::size_t>(n)});
    // One read a wake keeps the streams of a loop fair; level-triggered readiness brings the rest.
    return;
  }
}

void UpstreamConnection::on_eof(int error) noexcept {
  if (!client_) return close();
  if (head_done_ && kind_ == BodyKind::until_close && error == 0) {
    keep_alive_ = false;
    client_->on_response_body({.last = true});
    if (client_) finish(false);
    return;
  }
  if (head_done_)
    return fault(UpstreamFault::cut_short,
                 error ? std::strerror(error) : "closed before the end of the body");
  if (may_resend()) return resend();
  if (got_bytes_) return fault(UpstreamFault::bad_response, "closed in the middle of the response head");
  fault(UpstreamFault::reset, error ? std::strerror(error) : "closed without an answer");
}

void UpstreamConnection::consume(std::span<const char> bytes) noexcept {
  while (!head_done_) {
    if (!consume_head(bytes)) return;
  }
  if (client_ && !dead_) consume_body(bytes);
}

// True: a final head was delivered and `bytes` is what follows it, or a 1xx was skipped and there is more to
// parse.
bool UpstreamConnection::consume_head(std::span<const char>& bytes) noexcept {
  std::span<const char> all = bytes;
  const bool stored = !partial_.empty();
  if (stored) {
    if (!partial_.append({bytes.data(), bytes.size()})) {
      fault(UpstreamFault::bad_response, "out of memory for the response head");
      return false;
    }
    all = {partial_.data(), partial_.size()};
  }
  head_.clear();
  ParseResult parsed = parser_.parse(all, head_);
  if (parsed.need_more()) {
    if (!stored && !partial_.append({bytes.data(), bytes.size()}))
      fault(UpstreamFault::bad_response, "out of memory for the response head");
    return false;
  }
  if (parsed.failed()) {
    fault(UpstreamFault::bad_response, parsed.message);
    return false;
  }
  const std::size_t after = all.size() - parsed.consumed;  // always within the newest bytes
  bytes = bytes.subspan(bytes.size() - after);
  if (head_.informational()) {
    partial_.release();
    if (++interim_ > max_interim) {
      fault(UpstreamFault::bad_response, "interim responses without end");
      return false;
    }
    return !bytes.empty();
  }
  if (head_.upgrade()) {
    fault(UpstreamFault::bad_response, "the worker switched protocols unasked");
    return false;
  }
  return begin_response(bytes);
}

bool UpstreamConnection::begin_response(std::span<const char> rest) noexcept {
  head_done_ = true;
  kind_ = response_body_kind(head_, is_head_);
  remaining_ = kind_ == BodyKind::length ? head_.content_length.value_or(0) : 0;
  if (kind_ == BodyKind::length && remaining_ == 0) kind_ = BodyKind::none;
  keep_alive_ = head_.keep_alive && kind_ != BodyKind::until_close;
  decoder_.reset();
  trailers_.clear();
  client_->on_response_head(head_, kind_);
  head_.clear();  // its views end here
  partial_.release();
  if (!client_ || dead_) return false;
  if (kind_ == BodyKind::none) {
    if (!rest.empty()) keep_alive_ = false;
    finish(true);
    return false;
  }
  return true;
}

// From the first body byte on another time limit counts.
void UpstreamConnection::note_body(std::size_t bytes) noexcept {
  if (bytes == 0) return;
  last_activity_ms_ = pool_.loop.now_ms();
  if (body_started_) return;
  body_started_ = true;
  arm_timer(timeouts_.idle_ms);
}

void UpstreamConnection::consume_body(std::span<const char> bytes) noexcept {
  std::array<iovec, max_pieces> pieces;
  if (kind_ != BodyKind::chunked) {
    std::size_t take = bytes.size();
    if (kind_ == BodyKind::length) take = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, take));
    const bool last = kind_ == BodyKind::length && take == remaining_;
    if (take == 0) return;
    if (kind_ == BodyKind::length) remaining_ -= take;
    if (bytes.size() > take) keep_alive_ = false;  // bytes that nobody asked for
    note_body(take);
    pieces[0] = {const_cast<char*>(bytes.data()), take};
    client_->on_response_body({pieces.data(), 1, take, last});
    if (last && client_ && !dead_) finish(true);
    return;
  }
  while (!bytes.empty()) {
    std::size_t count = 0, total = 0;
    bool done = false;
    while (!bytes.empty() && count < max_pieces && !done) {
      auto step = decoder_.next(bytes);
      bytes = bytes.subspan(step.consumed);
      switch (step.event) {
        case ChunkedDecoder::Event::data:
          pieces[count++] = {const_cast<char*>(step.data.data()), step.data.size()};
          total += step.data.size();
          break;
        case ChunkedDecoder::Event::trailer: trailers_.append(step.data.data(), step.data.size()); break;
        case ChunkedDecoder::Event::done: done = true; break;
        case ChunkedDecoder::Event::error:
          // What was whole before it still counts, once something of this body was given on.
          if (count > 0 && body_started_) client_->on_response_body({pieces.data(), count, total, false, {}});
          if (client_ && !dead_) fault(UpstreamFault::bad_response, decoder_.error());
          return;
        case ChunkedDecoder::Event::need_more: break;
      }
      if (step.event == ChunkedDecoder::Event::need_more) break;
    }
    if (count > 0 || done) {
      note_body(total);
      client_->on_response_body({pieces.data(), count, total, done, trailers_});
      if (!client_ || dead_) return;
    }
    if (done) {
      if (!bytes.empty()) keep_alive_ = false;
      return finish(true);
    }
    if (count == 0) return;
  }
}

}  // namespace tidegate::http
