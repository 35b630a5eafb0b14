// What: one connection to a worker, and what a pool keeps of its connections. Internal to the upstream
// sources:
//   upstream.cc (pool), upstream_connection.cc (life, sending, limits), upstream_read.cc (responses).
// Threads: the pool's loop.
// Ownership: the pool's State owns every connection; a closed one waits for the end of the batch. A
// connection
//   borrows its client and the memory of its request until the call is over.
// Errors: through the client's on_fault(). Phases: connecting -> busy (sending and answering overlap) -> idle
// ->
//   busy ... -> closed. Invariants:
//   1 client_ is set exactly while a call is under way; it is cleared before the last callback, so that
//   nothing
//     is called twice whatever the client does inside.
//   2 The descriptor is watched while open, except after HUP or ERR during a pause: these cannot be silenced,
//     and what is left to read waits in the kernel for resume().
//   3 dead_ connections are in no list and wait for the end of the batch.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/buffer.h"
#include "http/chunked.h"
#include "http/event_loop.h"
#include "http/listener.h"
#include "http/upstream.h"

namespace tidegate::http {

class UpstreamConnection final : public UpstreamCall, public Watched, public Deferred {
 public:
  UpstreamConnection(UpstreamPool::State& pool, std::uint32_t key, std::uint32_t generation,
                     const Poco::Net::SocketAddress& address);
  ~UpstreamConnection() override = default;

  void begin(const UpstreamRequest& request, UpstreamClient& client);
  void pause() noexcept override;
  void resume() noexcept override;
  void cancel() noexcept override;
  void no_resend() noexcept override { may_resend_ = false; }
  bool reused() const noexcept override { return reused_; }
  void on_ready(std::uint32_t events) noexcept override;
  void close() noexcept;
  void abandon() noexcept;

  std::uint32_t generation() const noexcept { return generation_; }
  bool usable() const noexcept;

 private:
  friend class UpstreamPool;
  friend struct UpstreamPool::State;
  enum class Phase : std::uint8_t { closed, connecting, busy, idle };
  static constexpr std::size_t max_pieces = 64;
  static constexpr std::uint32_t max_interim = 16;  // 1xx heads before an answer

  bool connect() noexcept;
  void open_socket() noexcept;
  void on_connected() noexcept;
  void send_more() noexcept;
  void want(std::uint32_t interest) noexcept;
  void want_progress() noexcept;
  void read_some() noexcept;
  void on_eof(int error) noexcept;
  void on_resumed() noexcept;
  void consume(std::span<const char> bytes) noexcept;
  bool consume_head(std::span<const char>& bytes) noexcept;
  bool begin_response(std::span<const char> rest) noexcept;
  void consume_body(std::span<const char> bytes) noexcept;
  void note_body(std::size_t bytes) noexcept;
  void finish(bool clean) noexcept;
  void fault(UpstreamFault what, std::string_view detail) noexcept;
  bool may_resend() const noexcept;
  void resend() noexcept;
  void on_timer() noexcept;
  void arm_timer(std::uint32_t ms) noexcept;

  UpstreamPool::State& pool_;
  UpstreamClient* client_ = nullptr;
  std::uint32_t key_, generation_;
  Phase phase_ = Phase::closed;
  bool reused_ = false, paused_ = false, pending_resume_ = false, hup_ = false, head_done_ = false,
       got_bytes_ = false;
  bool is_head_ = false, keep_alive_ = false, body_started_ = false, sent_ = false, dead_ = false;
  bool may_resend_ = true, drained_ = false, no_descriptor_ = false;
  std::uint32_t interim_ = 0;
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
  // What the time limit of the phase runs from: while the request is sent, its last bytes taken by the
  // kernel; then the end of sending, whatever comes that is no body; from then on the last bytes of body.
  std::uint64_t last_activity_ms_ = 0, sent_ms_ = 0, connect_began_ns_ = 0;
  std::uint64_t idle_beat_ = 0;  // the loop's heartbeat when the connection became idle
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
  bool close_one_idle() noexcept;
};

}  // namespace tidegate::http
