// What: connections to workers: one request at a time on each, kept alive in a pool per loop and worker.
// Threads: a pool and its connections belong to one loop's thread.
// Ownership: the pool owns every connection. An UpstreamCall borrows its client and the memory of its request
// until
//   on_response_end or on_fault was called, or cancel() returned; after any of these the call is gone.
// Errors: on_fault says what happened and how far the exchange had come. A kept-alive connection that dies
//   before the first byte of an answer, and before the worker can have begun with the request, is no fault:
//   the request is sent once more on a fresh one.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <Poco/Net/SocketAddress.h>

#include "http/head.h"

namespace tidegate::http {

class EventLoop;

enum class UpstreamFault : std::uint8_t {
  connect_failed,  // refused, unreachable
  connect_timeout,
  no_descriptor,  // the pool's share of the descriptors, or the process's, is used up: not the worker's fault
  reset,          // closed or reset before a head came
  bad_response,   // not HTTP, or framed in a way that two parsers could read differently
  first_byte_timeout,  // no head, or no body byte, within the limit
  idle_timeout,        // silence between two pieces of the body
  cut_short,           // closed or reset in the middle of the body
};
std::string_view fault_name(UpstreamFault fault) noexcept;  // "connect_failed", ...

// Body bytes, unframed, of one read.
struct BodyPart {
  const iovec* pieces = nullptr;
  std::size_t count = 0, bytes = 0;
  bool last = false;                      // on_response_end follows at once: both may leave in one write
  std::string_view trailer_section = {};  // with `last`: raw and checked, see parse_trailers()
};

// What hears of one request's response. Calls come from the loop; only on_request_sent may come from within
// start(). cancel(), pause() and the start of other calls are allowed inside each of them.
class UpstreamClient {
 public:
  virtual void on_connected(std::uint64_t took_ns) noexcept { static_cast<void>(took_ns); }  // if it had to
  virtual void on_request_sent() noexcept {}  // the last byte was given to the kernel
  // Views are valid during the call. `kind` none: the end follows at once.
  virtual void on_response_head(const ResponseHead& head, BodyKind kind) noexcept = 0;
  virtual void on_response_body(const BodyPart& part) noexcept = 0;
  virtual void on_response_end() noexcept = 0;
  virtual void on_fault(UpstreamFault fault, std::string_view detail) noexcept = 0;

 protected:
  ~UpstreamClient() = default;
};

struct UpstreamTimeouts {
  std::uint32_t connect_ms = 5'000;
  std::uint32_t first_byte_ms = 300'000;  // from sent to the first body byte (or the head of an empty answer)
  std::uint32_t idle_ms = 60'000;         // silence afterwards, not counted while paused
};

struct UpstreamRequest {
  std::string_view head;        // complete, with its empty line; copied
  const iovec* body = nullptr;  // borrowed, the bytes too
  std::size_t body_count = 0;
  bool is_head = false;  // HEAD: the answer has no body
  UpstreamTimeouts timeouts;
};

class UpstreamCall {
 public:
  // Stops reading from the worker; its send then blocks. resume() delivers from the loop, not from within.
  virtual void pause() noexcept = 0;
  virtual void resume() noexcept = 0;
  virtual void cancel() noexcept = 0;  // closes the connection; nothing is called any more
  // From now on a connection that ends is a fault, also a kept-alive one that might be replaced.
  virtual void no_resend() noexcept = 0;
  virtual bool reused() const noexcept = 0;

 protected:
  ~UpstreamCall() = default;
};

struct UpstreamLimits {
  std::size_t max_connections = 8'192;  // of this pool, busy and idle
  std::size_t max_idle_per_worker = 64;
  std::uint32_t keep_alive_idle_ms = 4'000;  // below the engines' usual 5 s
  // A worker may close a kept-alive connection at the moment at which a request sets out. What ends later
  // than this after the request was sent whole has probably been worked on, and is not sent again.
  std::uint32_t resend_ms = 1'000;
  HeadLimits head;
};

struct UpstreamStats {  // written by the loop, read by anyone: relaxed atomics behind the getters of the pool
  std::uint64_t opened = 0, reused = 0, resent = 0, busy = 0, idle = 0;
};

class UpstreamPool {
 public:
  UpstreamPool(EventLoop& loop, UpstreamLimits limits);
  ~UpstreamPool();
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  // Never null: what fails at once is reported through on_fault from the loop. `key` tells workers apart
  // (their slot); idle connections of a key whose `generation` changed are closed, so one generation has one
  // address.
  UpstreamCall* start(std::uint32_t key, std::uint32_t generation, const Poco::Net::SocketAddress& address,
                      const UpstreamRequest& request, UpstreamClient& client);
  void close_idle() noexcept;
  void set_limits(const UpstreamLimits& limits) noexcept;
  UpstreamStats stats() const noexcept;  // any thread

 private:
  friend class UpstreamConnection;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidegate::http
