#include "http/server_connection.h"

#include <algorithm>
#include <string>
#include <utility>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/server_set.h"

namespace tidegate::http {

namespace {

constexpr std::uint64_t never = TimerWheel::never;
// A connection that has not asked for anything yet gets this long once the set drains.
constexpr std::uint64_t drain_grace_ms = 1000;

}  // namespace

ServerConnection::ServerConnection(ConnectionSet& set, UniqueFd fd, const PeerAddress& peer) noexcept
    : set_(set),
      fd_(std::move(fd)),
      peer_(peer),
      parser_(HeadLimits{set.limits().max_head, set.limits().max_headers}) {
  output_.attach(fd_.get());
}

ServerConnection::~ServerConnection() = default;

EventLoop& ServerConnection::loop() noexcept { return set_.loop(); }

bool ServerConnection::open() noexcept {
  if (!loop().watch(*this, fd_.get(), std::uint32_t{EPOLLIN} | std::uint32_t{EPOLLET})) return false;
  since_ms_ = loop().now_ms();
  watch_deadline();
  return true;
}

void ServerConnection::on_ready(std::uint32_t events) noexcept {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return client_gone();
  if ((events & EPOLLOUT) != 0) writable();
  drained_ = true;
  if ((events & EPOLLIN) != 0) read_input();
  // Before the request is complete, reading on will find the end; from then on the client counts as gone.
  if ((events & EPOLLRDHUP) != 0 && (phase_ == Phase::exchange || phase_ == Phase::flush)) client_gone();
  // An end stands behind the bytes, or more bytes do.
  if (!drained_ || (events & EPOLLRDHUP) != 0) loop().ask_again(*this);
}

void ServerConnection::writable() noexcept {
  const std::uint64_t taken = output_.taken();
  wrote(output_.flush());
  if (lost_) return client_gone();
  if (output_.taken() != taken) note_delivery();
  update_interest();
  if (phase_ == Phase::flush && output_.pending() == 0) {
    after_response(!in_.empty());
    if (phase_ == Phase::head) feed_stashed();
  } else if (want_writable_ && responder_ && output_.pending() <= set_.limits().out_high_water / 2) {
    want_writable_ = false;
    responder_->on_writable();
  }
}

// Nothing of the application is on the stack here: the place for everything that was put off.
void ServerConnection::on_batch_end() noexcept {
  if (phase_ == Phase::closed) return;
  if (!lost_ && output_.pending() != 0 && !output_.blocked()) wrote(output_.flush());
  if (lost_) return client_gone();
  if (phase_ == Phase::flush && output_.pending() == 0) after_response(!in_.empty());
  if (phase_ == Phase::head) feed_stashed();
}

void ServerConnection::send_head(int status, std::string_view header_block, Framing framing) noexcept {
  if (!may_write() || output_.started()) return;
  // Behind an answer that came before the body, the next request's start can't be found.
  keep_alive_ = keep_alive_ && phase_ != Phase::body && !set_.draining();
  ResponseOutput::Head head;
  head.status = status;
  head.block = header_block;
  head.framing = framing;
  head.date_line = set_.date_line();
  head.http10 = head_.version == 10;
  head.head_request = head_.method == "HEAD";
  head.keep_alive = keep_alive_;
  keep_alive_ = output_.begin(head);
  loop().at_batch_end(*this);
}

bool ServerConnection::send(std::span<const iovec> data) noexcept {
  if (!may_write() || !output_.started()) return false;
  wrote(output_.write(data));
  if (lost_) return false;
  if (output_.pending() <= set_.limits().out_high_water) return true;
  want_writable_ = true;
  return false;
}

bool ServerConnection::send(std::string_view data) noexcept {
  const iovec one{const_cast<char*>(data.data()), data.size()};
  return send(std::span<const iovec>(&one, 1));
}

void ServerConnection::finish(std::span<const iovec> last_data, std::string_view trailer_block) noexcept {
  if (!responder_) return;
  if (lost_ || !output_.started()) return abort();
  wrote(output_.end(last_data, trailer_block));
  if (lost_) return abort();
  ended();
}

void ServerConnection::abort() noexcept {
  if (!responder_) return;
  loop().defer_delete(take_responder());
  close(Gone::reset);
}

void ServerConnection::reply(int status, std::string_view content_type, std::string_view body,
                             std::string_view extra_headers) noexcept {
  if (!may_write() || output_.started()) return;
  std::string block;
  block.reserve(content_type.size() + extra_headers.size() + 20);
  if (!content_type.empty()) block.append("Content-Type: ").append(content_type).append("\r\n");
  block.append(extra_headers);
  const bool bodiless = status == 204 || status == 304;
  send_head(status, block, bodiless ? Framing::none() : Framing::fixed(body.size()));
  const iovec one{const_cast<char*>(body.data()), bodiless ? 0 : body.size()};
  finish(std::span<const iovec>(&one, 1));
}

void ServerConnection::wrote(ResponseOutput::Result result) noexcept {
  if (result == ResponseOutput::Result::failed) {
    if (!std::exchange(lost_, true)) loop().at_batch_end(*this);
    return;
  }
  if (!output_.blocked() || (interest() & EPOLLOUT) != 0) return;
  note_delivery();
  update_interest();
  watch_deadline();
}

std::unique_ptr<Responder> ServerConnection::take_responder() noexcept {
  if (responder_) --set_.busy_;
  want_writable_ = false;
  return std::move(responder_);
}

// The application is done with this exchange, and is probably still on the stack.
void ServerConnection::ended() noexcept {
  if (responder_) loop().defer_delete(take_responder());
  request_open_ = phase_ != Phase::exchange;
  phase_ = Phase::flush;
  if (!feeding_) loop().at_batch_end(*this);
}

// The response has left: on to the next request, or to the end. Never with the application on the stack.
void ServerConnection::after_response(bool more_input) noexcept {
  output_.reset();
  body_.clear();
  if (request_open_ || (!keep_alive_ && more_input)) return start_linger();
  if (!keep_alive_ || (set_.draining() && !more_input)) return close(Gone::quietly);
  phase_ = Phase::head;
  since_ms_ = loop().now_ms();
  read_paused_ = false;
  update_interest();
  watch_deadline();
}

// Closing with unread input would reset the connection and may destroy the response on its way.
void ServerConnection::start_linger() noexcept {
  ::shutdown(fd_.get(), SHUT_WR);
  in_.release();
  drop_head();
  phase_ = Phase::linger;
  since_ms_ = loop().now_ms();
  read_paused_ = false;
  update_interest();
  watch_deadline();
}

void ServerConnection::client_gone() noexcept {
  if (phase_ == Phase::closed) return;
  std::unique_ptr<Responder> responder = take_responder();
  close(Gone::quietly);
  if (!responder) return;
  responder->on_client_gone();
  loop().defer_delete(std::move(responder));
}

void ServerConnection::close(Gone how) noexcept {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  timer_.disarm();
  loop().unwatch(*this);
  if (how == Gone::reset) {
    const linger now{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  fd_.reset();
  set_.gone(*this);
}

// The set drains. A request that has already arrived is still served.
void ServerConnection::retire() noexcept {
  if (output_.started()) return;
  keep_alive_ = false;
  if (!idle()) return;
  since_ms_ = loop().now_ms();
  if (!set_.feeding_) read_input();
  if (!idle()) return;
  if (served_) return close(Gone::quietly);
  watch_deadline();
}

// Force: what has been said completely still goes out as far as the kernel takes it.
void ServerConnection::close_now() noexcept {
  std::unique_ptr<Responder> responder = take_responder();
  if (!responder && phase_ == Phase::flush) output_.flush();
  close(responder ? Gone::reset : Gone::quietly);
  if (!responder) return;
  responder->on_client_gone();
  loop().defer_delete(std::move(responder));
}

void ServerConnection::update_interest() noexcept {
  loop().rewatch(*this, (read_paused_ ? 0u : std::uint32_t{EPOLLIN}) |
                            (output_.blocked() ? std::uint32_t{EPOLLOUT} : 0u) | std::uint32_t{EPOLLET});
}

// What the client's end has acknowledged of all that was written.
std::uint64_t ServerConnection::delivered() const noexcept {
  int queued = 0;
  if (::ioctl(fd_.get(), SIOCOUTQ, &queued) != 0) queued = 0;
  return output_.taken() - static_cast<std::uint64_t>(queued);
}

void ServerConnection::note_delivery() noexcept {
  since_ms_ = loop().now_ms();
  delivered_ = delivered();
}

// The kernel asks for more only when a third of its buffer is free, which a slow reader of a large buffer
// takes many minutes for: what left the buffer counts as well.
bool ServerConnection::still_delivers() noexcept {
  const std::uint64_t before = delivered_;
  note_delivery();
  return delivered_ > before;
}

// When the body's rate falls below the least one: each byte that comes puts it off. Who sends a byte now and
// then would else hold connection, body and budget for ever.
std::uint64_t ServerConnection::body_due() const noexcept {
  const ServerLimits& limits = set_.limits();
  if (limits.min_body_rate == 0) return never;
  return body_since_ms_ + limits.body_timeout + body_.size() * 1000 / limits.min_body_rate;
}

std::uint64_t ServerConnection::deadline() const noexcept {
  const ServerLimits& limits = set_.limits();
  std::uint64_t limit = 0;
  switch (phase_) {
    case Phase::head:
      limit = served_ && in_.empty() ? limits.idle_timeout : limits.header_timeout;
      if (!served_ && in_.empty() && set_.draining()) limit = drain_grace_ms;
      break;
    case Phase::body:
      return std::min(body_due(), limits.body_timeout == 0 ? never : since_ms_ + limits.body_timeout);
    case Phase::exchange:
    case Phase::flush: limit = output_.blocked() ? limits.write_timeout : 0; break;
    case Phase::linger: limit = limits.linger_timeout; break;
    case Phase::closed: break;
  }
  return limit == 0 ? never : since_ms_ + limit;
}

// The timer is only ever moved to an earlier time: progress moves since_ms_, and on_timer() looks again.
void ServerConnection::watch_deadline() noexcept {
  const std::uint64_t at = deadline();
  if (at == never || (timer_.armed() && timer_.expiry() <= at)) return;
  loop().arm_at(timer_, at);
}

void ServerConnection::on_timer() noexcept {
  const std::uint64_t at = deadline();
  if (at == never) return;
  if (at > loop().now_ms()) return loop().arm_at(timer_, at);
  switch (phase_) {
    case Phase::head:
      if (in_.empty()) return close(Gone::quietly);
      return refuse(408, "request_head_stalled",
                    "The request's head did not arrive in time; send it at once.");
    case Phase::body:
      // A body that has stopped is too slow as well; that it stopped says more.
      if (const auto limit = set_.limits().body_timeout; limit != 0 && since_ms_ + limit <= loop().now_ms())
        return refuse(408, "request_body_stalled",
                      "The request's body stopped arriving; send it without pauses.");
      return refuse(408, "request_body_too_slow",
                    "The request's body arrived more slowly than this server's min_body_rate.");
    case Phase::exchange:
    case Phase::flush: return still_delivers() ? watch_deadline() : client_gone();
    default: return close(Gone::quietly);
  }
}

}  // namespace tidegate::http
