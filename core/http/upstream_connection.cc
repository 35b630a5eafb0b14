// The life of a connection to a worker: opening, sending, pausing, limits of time, closing.
#include "http/upstream_connection.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "http/send_pieces.h"

namespace tidegate::http {

UpstreamConnection::UpstreamConnection(UpstreamPool::State& pool, std::uint32_t key, std::uint32_t generation,
                                       const Poco::Net::SocketAddress& address)
    : pool_(pool), key_(key), generation_(generation), parser_(pool.limits.head), address_(address) {}

void UpstreamConnection::begin(const UpstreamRequest& request, UpstreamClient& client) {
  client_ = &client;
  is_head_ = request.is_head;
  timeouts_ = request.timeouts;
  out_head_.assign(request.head);
  body_ = request.body;
  body_count_ = request.body_count;
  out_.clear();
  out_at_ = 0;
  out_.push_back({out_head_.data(), out_head_.size()});
  out_.insert(out_.end(), body_, body_ + body_count_);
  head_done_ = got_bytes_ = body_started_ = sent_ = paused_ = false;
  may_resend_ = true;
  interim_ = 0;
  reused_ = phase_ == Phase::idle;
  if (reused_) {
    UpstreamPool::State::bump(pool_.reused);
    phase_ = Phase::busy;
    arm_timer(timeouts_.first_byte_ms);
    send_more();
    return;
  }
  if (!connect()) return;  // the fault comes by timer
  arm_timer(timeouts_.connect_ms);
}

// False: the failure was noted and on_timer() reports it from the loop.
bool UpstreamConnection::connect() noexcept {
  phase_ = Phase::connecting;
  connect_began_ns_ = pool_.loop.now_ns();
  hup_ = no_descriptor_ = false;
  if (!pool_.make_room()) {
    phase_ = Phase::closed;
    no_descriptor_ = true;
    pool_.loop.arm(timer_, 0);
    return false;
  }
  open_socket();
  const int on = 1;
  if (socket_) {
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int result = ::connect(socket_.get(), address_.addr(), address_.length());
    if ((result == 0 || errno == EINPROGRESS) && pool_.loop.watch(*this, socket_.get(), EPOLLOUT)) {
      UpstreamPool::State::bump(pool_.opened);
      return true;
    }
  }
  socket_.reset();
  phase_ = Phase::closed;
  pool_.loop.arm(timer_, 0);
  return false;
}

// Out of descriptors, the process's as well as the pool's: an idle connection makes way.
void UpstreamConnection::open_socket() noexcept {
  const auto exhausted = [] {
    return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
  };
  // Not Poco's connectNB: it throws where a refusal is daily business, and leaves descriptors open to child
  // processes.
  const auto open = [&] { return ::socket(address_.af(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); };
  socket_.reset(open());
  if (socket_) return;
  no_descriptor_ = exhausted();
  if (!no_descriptor_ || !pool_.close_one_idle()) return;
  socket_.reset(open());
  no_descriptor_ = !socket_ && exhausted();
}

// Whether a request can be sent on this idle connection: it has neither ended, nor do bytes wait in it that
// the request would take for its answer. The kernel need not be asked where it has just told so: epoll by
// silence, or the last read by finding less than it had room for. What arrives later in this batch can't be
// told from what arrives on the way, and nobody can exclude that.
bool UpstreamConnection::usable() const noexcept {
  if (pool_.loop.undelivered(*this)) return false;
  if (drained_ && idle_beat_ == pool_.loop.heartbeat()) return true;
  if (pool_.loop.all_told_since(idle_beat_)) return true;
  char byte;
  return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void UpstreamConnection::want(std::uint32_t interest) noexcept {
  if (fd() >= 0 && this->interest() != interest) pool_.loop.rewatch(*this, interest);
}

// Reading unless paused, writing while the request is not all with the kernel.
void UpstreamConnection::want_progress() noexcept {
  want((paused_ ? 0u : std::uint32_t{EPOLLIN}) | (out_at_ < out_.size() ? std::uint32_t{EPOLLOUT} : 0u) |
       std::uint32_t{EPOLLET});
}

void UpstreamConnection::arm_timer(std::uint32_t ms) noexcept {
  last_activity_ms_ = pool_.loop.now_ms();
  if (ms == 0)
    timer_.disarm();
  else
    pool_.loop.arm(timer_, ms);
}

void UpstreamConnection::on_connected() noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fault(UpstreamFault::connect_failed, std::strerror(error));
  phase_ = Phase::busy;
  arm_timer(timeouts_.first_byte_ms);
  client_->on_connected(pool_.loop.now_ns() - connect_began_ns_);
  if (phase_ == Phase::busy && !dead_) send_more();
}

void UpstreamConnection::send_more() noexcept {
  while (out_at_ < out_.size()) {
    const ssize_t n = send_pieces(socket_.get(), std::span(out_).subspan(out_at_));
    if (n < 0) {
      if (errno == EAGAIN) return want_progress();
      // The worker closed while we were sending. It may have answered before (a 413, say): read that first.
      // EPOLLIN and HUP are pending, and the read decides.
      out_at_ = out_.size();
      keep_alive_ = false;
      return want_progress();
    }
    if (n > 0) last_activity_ms_ = pool_.loop.now_ms();
    for (auto left = static_cast<std::size_t>(n); out_at_ < out_.size();) {
      iovec& piece = out_[out_at_];
      if (left < piece.iov_len) {
        piece.iov_base = static_cast<char*>(piece.iov_base) + left;
        piece.iov_len -= left;
        break;
      }
      left -= piece.iov_len;
      ++out_at_;
    }
  }
  sent_ = true;
  sent_ms_ = last_activity_ms_ = pool_.loop.now_ms();
  want_progress();
  client_->on_request_sent();
}

void UpstreamConnection::on_ready(std::uint32_t events) noexcept {
  if (phase_ == Phase::connecting) return on_connected();
  if (phase_ == Phase::idle) return close();  // an idle connection has nothing to say but its end
  if (paused_) {
    if ((events & EPOLLOUT) && out_at_ < out_.size()) send_more();  // a pause stops reading only
    if (phase_ != Phase::busy || dead_ || !paused_) return;
    // Silence the FIN; HUP and ERR cannot be silenced. The bytes before them wait in the kernel.
    if (events & (EPOLLHUP | EPOLLERR)) {
      hup_ = true;
      pool_.loop.unwatch(*this);
    } else if (events & EPOLLRDHUP) {
      pool_.loop.rewatch(*this, EventLoop::without_rdhup | (interest() & EPOLLOUT));
    }
    return;
  }
  if ((events & EPOLLOUT) && !sent_) {
    send_more();
    if (phase_ != Phase::busy || dead_ || paused_) return;
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    drained_ = true;
    read_some();
    // An end stands behind the bytes, or more bytes do.
    if (!drained_ || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) pool_.loop.ask_again(*this);
  }
}

// A kept-alive connection that its worker closed meanwhile: the request goes out once more on a fresh one.
// Only where the worker can't have begun with it: a request that was worked on and broke off is an attempt of
// its own.
bool UpstreamConnection::may_resend() const noexcept {
  if (!reused_ || got_bytes_ || !may_resend_) return false;
  return !sent_ || pool_.loop.now_ms() < sent_ms_ + pool_.limits.resend_ms;
}

void UpstreamConnection::resend() noexcept {
  UpstreamPool::State::bump(pool_.resent);
  pool_.loop.unwatch(*this);
  socket_.reset();
  out_.clear();
  out_at_ = 0;
  out_.push_back({out_head_.data(), out_head_.size()});
  out_.insert(out_.end(), body_, body_ + body_count_);
  reused_ = sent_ = false;
  if (connect()) arm_timer(timeouts_.connect_ms);
}

// The response is complete. `clean`: its framing said so, and the connection may serve again.
void UpstreamConnection::finish(bool clean) noexcept {
  UpstreamClient* client = std::exchange(client_, nullptr);
  const bool keep =
      clean && keep_alive_ && sent_ && !hup_ && !pool_.closing &&
      (key_ >= pool_.idle.size() || pool_.idle[key_].size() < pool_.limits.max_idle_per_worker) &&
      pool_.limits.keep_alive_idle_ms > 0;
  out_.clear();
  if (keep) {
    phase_ = Phase::idle;
    idle_beat_ = pool_.loop.heartbeat();
    paused_ = false;
    want(std::uint32_t{EPOLLIN} | std::uint32_t{EPOLLET});
    pool_.put_idle(*this);
    last_activity_ms_ = pool_.loop.now_ms();
    // The timer of the call runs on and is looked at lazily, unless it would come too late for an idle
    // connection.
    if (!timer_.armed() || timer_.expiry() > last_activity_ms_ + pool_.limits.keep_alive_idle_ms)
      pool_.loop.arm(timer_, pool_.limits.keep_alive_idle_ms);
    client->on_response_end();
    return;
  }
  close();
  client->on_response_end();
}

void UpstreamConnection::fault(UpstreamFault what, std::string_view detail) noexcept {
  UpstreamClient* client = std::exchange(client_, nullptr);
  abandon();
  if (client) client->on_fault(what, detail);
}

void UpstreamConnection::close() noexcept {
  if (dead_) return;
  if (phase_ == Phase::idle) pool_.forget_idle(*this);
  phase_ = Phase::closed;
  dead_ = true;
  timer_.disarm();
  if (fd() >= 0) pool_.loop.unwatch(*this);
  socket_.reset();
  pool_.retire(*this);
}

// Closed in the middle of an exchange. A worker that does not read would not see a FIN behind what is queued
// for it, and the kernel would hold that for a connection that is nobody's any more.
void UpstreamConnection::abandon() noexcept {
  int queued = 0;
  if (phase_ == Phase::busy && ::ioctl(socket_.get(), SIOCOUTQ, &queued) == 0 && queued > 0) {
    const linger now{1, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  close();
}

void UpstreamConnection::cancel() noexcept {
  client_ = nullptr;
  abandon();
}

void UpstreamConnection::pause() noexcept {
  if (paused_ || dead_) return;
  paused_ = true;
  if (phase_ == Phase::busy) want_progress();
}

void UpstreamConnection::resume() noexcept {
  if (!paused_ || dead_ || pending_resume_) return;
  paused_ = false;
  last_activity_ms_ = pool_.loop.now_ms();
  if (phase_ != Phase::busy) return;
  if (!hup_) return want_progress();
  // Not watched any more: read on from the loop until the end that is known to be there.
  pending_resume_ = true;
  pool_.loop.arm(timer_, 0);
}

void UpstreamConnection::on_resumed() noexcept {
  pending_resume_ = false;
  arm_timer(timeouts_.idle_ms);
  read_some();
  if (dead_ || !client_ || paused_) return;
  pending_resume_ = true;
  pool_.loop.arm(timer_, 0);
}

void UpstreamConnection::on_timer() noexcept {
  if (pending_resume_) return on_resumed();
  const std::uint64_t now = pool_.loop.now_ms();
  std::uint32_t limit = 0;
  switch (phase_) {
    case Phase::closed: {
      return fault(
          no_descriptor_ ? UpstreamFault::no_descriptor : UpstreamFault::connect_failed,
          no_descriptor_ ? "no descriptor is left for another connection" : "no connection could be opened");
    }
    case Phase::connecting:
      return fault(UpstreamFault::connect_timeout, "no connection within the time limit");
    case Phase::idle: limit = pool_.limits.keep_alive_idle_ms; break;
    case Phase::busy: limit = body_started_ ? timeouts_.idle_ms : timeouts_.first_byte_ms; break;
  }
  if (paused_)
    return pool_.loop.arm(timer_,
                          std::max<std::uint32_t>(limit, 1));  // the client's slowness, not the worker's
  const std::uint64_t due = last_activity_ms_ + limit;
  if (now < due) return pool_.loop.arm_at(timer_, due);
  if (phase_ == Phase::idle) return close();
  fault(body_started_ ? UpstreamFault::idle_timeout : UpstreamFault::first_byte_timeout,
        body_started_ ? "silence in the middle of the body" : "no answer within the time limit");
}

}  // namespace tidegate::http
