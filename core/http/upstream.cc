#include "http/upstream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "http/buffer.h"
#include "http/chunked.h"
#include "http/event_loop.h"
#include "http/listener.h"

namespace tidegate::http {

std::string_view fault_name(UpstreamFault fault) noexcept {
  switch (fault) {
    case UpstreamFault::connect_failed: return "connect_failed";
    case UpstreamFault::connect_timeout: return "connect_timeout";
    case UpstreamFault::no_descriptor: return "no_descriptor";
    case UpstreamFault::reset: return "reset";
    case UpstreamFault::bad_response: return "bad_response";
    case UpstreamFault::first_byte_timeout: return "first_byte_timeout";
    case UpstreamFault::idle_timeout: return "idle_timeout";
    case UpstreamFault::cut_short: return "cut_short";
  }
  return "unknown";
}

// One connection. Phases: connecting -> busy (sending and answering overlap) -> idle -> busy ... -> closed.
// Invariants
//   1 client_ is set exactly while a call is under way; it is cleared before the last callback, so that
//   nothing is called
//     twice whatever the client does inside.
//   2 The descriptor is watched while open, except after HUP or ERR during a pause: these cannot be silenced,
//   and what is
//     left to read waits in the kernel for resume().
//   3 dead_ connections are in no list and wait for the end of the batch.
class UpstreamConnection final : public UpstreamCall, public Watched, public Deferred {
 public:
  UpstreamConnection(UpstreamPool::State& pool, std::uint32_t key, std::uint32_t generation,
                     const Poco::Net::SocketAddress& address);
  ~UpstreamConnection() override = default;

  void begin(const UpstreamRequest& request, UpstreamClient& client);
  void pause() noexcept override;
  void resume() noexcept override;
  void cancel() noexcept override;
  bool reused() const noexcept override { return reused_; }
  void no_resend() noexcept override { may_resend_ = false; }
  void on_ready(std::uint32_t events) noexcept override;
  void close() noexcept;

  std::uint32_t generation() const noexcept { return generation_; }

 private:
  friend class UpstreamPool;
  friend struct UpstreamPool::State;
  enum class Phase : std::uint8_t { closed, connecting, busy, idle };
  static constexpr std::size_t max_pieces = 64;

  bool connect() noexcept;
  void on_connected() noexcept;
  void send_more() noexcept;
  void want(std::uint32_t interest) noexcept;
  void want_progress() noexcept;
  void read_some() noexcept;
  void on_eof(int error) noexcept;
  void on_resumed() noexcept;
  void consume(std::span<const char> bytes) noexcept;
  bool consume_head(std::span<const char>& bytes) noexcept;
  void consume_body(std::span<const char> bytes) noexcept;
  void note_body(std::size_t bytes) noexcept;
  void finish(bool clean) noexcept;
  void fault(UpstreamFault what, std::string_view detail) noexcept;
  bool resend() noexcept;
  void on_timer() noexcept;
  void arm_timer(std::uint32_t ms) noexcept;

  UpstreamPool::State& pool_;
  UpstreamClient* client_ = nullptr;
  std::uint32_t key_, generation_;
  Phase phase_ = Phase::closed;
  bool reused_ = false, paused_ = false, pending_resume_ = false, hup_ = false, head_done_ = false,
       got_bytes_ = false;
  bool may_resend_ = true;
  bool is_head_ = false, keep_alive_ = false, body_started_ = false, sent_ = false, dead_ = false;
  BodyKind kind_ = BodyKind::none;
  std::uint64_t remaining_ = 0;  // of a body by length
  ChunkedDecoder decoder_;
  ResponseParser parser_;
  ResponseHead head_;
  ByteBuffer partial_;    // an incomplete head
  std::string trailers_;  // raw trailer section
  std::string out_head_;
  std::vector<iovec> out_;  // what is still to be sent, the head first
  std::size_t out_at_ = 0;
  const iovec* body_ = nullptr;
  std::size_t body_count_ = 0;
  UpstreamTimeouts timeouts_;
  std::uint64_t last_activity_ms_ = 0, connect_began_ns_ = 0;
  UniqueFd socket_;
  Poco::Net::SocketAddress address_;
  Timer timer_{Timer::of<&UpstreamConnection::on_timer>, this};
};

struct UpstreamPool::State {
  State(EventLoop& l, UpstreamLimits lim) : loop(l), limits(lim) {}
  EventLoop& loop;
  UpstreamLimits limits;
  std::vector<std::vector<UpstreamConnection*>> idle;  // by key; the newest last, as it is the warmest
  std::vector<UpstreamConnection*> all;                // owned; swap-removed
  std::size_t idle_count = 0;
  bool closing = false;
  // Read by collectors on other threads; single writer, so plain add is enough (relaxed, numbers of their
  // own).
  std::atomic<std::uint64_t> opened{0}, reused{0}, resent{0}, busy_now{0}, idle_now{0};

  void count() noexcept {
    idle_now.store(idle_count, std::memory_order_relaxed);
    busy_now.store(all.size() - idle_count, std::memory_order_relaxed);
  }
  static void bump(std::atomic<std::uint64_t>& n) noexcept {
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  UpstreamConnection* take_idle(std::uint32_t key, std::uint32_t generation);
  void put_idle(UpstreamConnection& connection) noexcept;
  void forget_idle(UpstreamConnection& connection) noexcept;
  void retire(UpstreamConnection& connection) noexcept;
  bool make_room() noexcept;
};

UpstreamConnection* UpstreamPool::State::take_idle(std::uint32_t key, std::uint32_t generation) {
  if (key >= idle.size()) return nullptr;
  auto& list = idle[key];
  while (!list.empty()) {
    UpstreamConnection* connection = list.back();
    if (connection->generation() == generation) {
      list.pop_back();
      --idle_count;
      return connection;
    }
    connection->close();  // of an earlier worker in this slot
  }
  return nullptr;
}

void UpstreamPool::State::put_idle(UpstreamConnection& connection) noexcept {
  const std::uint32_t key = connection.key_;
  if (idle.size() <= key) idle.resize(key + 1);
  idle[key].push_back(&connection);
  ++idle_count;
  count();
}

void UpstreamPool::State::forget_idle(UpstreamConnection& connection) noexcept {
  auto& list = idle[connection.key_];
  auto at = std::find(list.begin(), list.end(), &connection);
  if (at == list.end()) return;
  list.erase(at);
  --idle_count;
}

void UpstreamPool::State::retire(UpstreamConnection& connection) noexcept {
  auto at = std::find(all.begin(), all.end(), &connection);
  if (at == all.end()) return;
  *at = all.back();
  all.pop_back();
  count();
  if (!closing) loop.defer_delete(std::unique_ptr<Deferred>(&connection));
}

// At the limit an idle connection of any worker makes way; busy ones never do.
bool UpstreamPool::State::make_room() noexcept {
  if (all.size() <= limits.max_connections) return true;  // the new one is among them
  for (auto& list : idle) {
    if (list.empty()) continue;
    list.front()->close();
    return true;
  }
  return false;
}

UpstreamPool::UpstreamPool(EventLoop& loop, UpstreamLimits limits)
    : state_(std::make_unique<State>(loop, limits)) {}

UpstreamPool::~UpstreamPool() {
  state_->closing = true;
  auto all = state_->all;
  for (UpstreamConnection* connection : all) {
    connection->client_ = nullptr;
    connection->close();
    delete connection;
  }
}

UpstreamCall* UpstreamPool::start(std::uint32_t key, std::uint32_t generation,
                                  const Poco::Net::SocketAddress& address, const UpstreamRequest& request,
                                  UpstreamClient& client) {
  UpstreamConnection* connection = state_->take_idle(key, generation);
  if (!connection) {
    connection = new UpstreamConnection(*state_, key, generation, address);
    state_->all.push_back(connection);
  }
  connection->begin(request, client);
  state_->count();
  return connection;
}

void UpstreamPool::close_idle() noexcept {
  for (auto& list : state_->idle)
    while (!list.empty()) list.back()->close();
}

void UpstreamPool::set_limits(const UpstreamLimits& limits) noexcept { state_->limits = limits; }

UpstreamStats UpstreamPool::stats() const noexcept {
  auto get = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
  return {get(state_->opened), get(state_->reused), get(state_->resent), get(state_->busy_now),
          get(state_->idle_now)};
}

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
  hup_ = false;
  if (!pool_.make_room()) {
    phase_ = Phase::closed;
    pool_.loop.arm(timer_, 0);
    return false;
  }
  // Not Poco's connectNB: it throws where a refusal is daily business, and leaves descriptors open to child
  // processes.
  socket_.reset(::socket(address_.af(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
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

void UpstreamConnection::want(std::uint32_t interest) noexcept {
  if (fd() >= 0 && this->interest() != interest) pool_.loop.rewatch(*this, interest);
}

// Reading unless paused, writing while the request is not all with the kernel.
void UpstreamConnection::want_progress() noexcept {
  want((paused_ ? 0u : std::uint32_t{EPOLLIN}) | (out_at_ < out_.size() ? std::uint32_t{EPOLLOUT} : 0u));
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
    msghdr message{};
    message.msg_iov = out_.data() + out_at_;
    message.msg_iovlen = std::min<std::size_t>(out_.size() - out_at_, 512);
    ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
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
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) read_some();
}

void UpstreamConnection::read_some() noexcept {
  auto scratch = pool_.loop.scratch();
  while (true) {
    ssize_t n = ::recv(socket_.get(), scratch.data(), scratch.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return on_eof(n < 0 ? errno : 0);
    got_bytes_ = true;
    last_activity_ms_ = pool_.loop.now_ms();
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
  if (!got_bytes_ && reused_ && may_resend_ && resend()) return;
  if (got_bytes_) return fault(UpstreamFault::bad_response, "closed in the middle of the response head");
  fault(UpstreamFault::reset, error ? std::strerror(error) : "closed without an answer");
}

// A kept-alive connection that its worker closed meanwhile: the request goes out once more on a fresh one.
bool UpstreamConnection::resend() noexcept {
  UpstreamPool::State::bump(pool_.resent);
  pool_.loop.unwatch(*this);
  socket_.reset();
  out_.clear();
  out_at_ = 0;
  out_.push_back({out_head_.data(), out_head_.size()});
  out_.insert(out_.end(), body_, body_ + body_count_);
  reused_ = sent_ = false;
  if (connect()) arm_timer(timeouts_.connect_ms);
  return true;
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
    return !bytes.empty();
  }
  if (head_.upgrade()) {
    fault(UpstreamFault::bad_response, "the worker switched protocols unasked");
    return false;
  }
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
    if (!bytes.empty()) keep_alive_ = false;
    finish(true);
    return false;
  }
  return true;
}

// From the first body byte on another time limit counts.
void UpstreamConnection::note_body(std::size_t bytes) noexcept {
  if (bytes == 0 || body_started_) return;
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
    paused_ = false;
    want(EPOLLIN);
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
  close();
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

void UpstreamConnection::cancel() noexcept {
  client_ = nullptr;
  close();
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
      const bool full = pool_.all.size() > pool_.limits.max_connections;
      return fault(full ? UpstreamFault::no_descriptor : UpstreamFault::connect_failed,
                   full ? "all upstream connections are in use" : "no connection could be opened");
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
