// What: the server connections of one loop and one service: makes, counts, drains and force-closes them.
// Threads: its loop's thread.
// Ownership: owns its connections; borrows loop, service and budget. Destroy it on the loop's thread or after
//   the loop has ended, then the loop, then service and budget: the loop still holds what the last batch
//   left.
// Errors: a connection that can't be set up is closed and counted as refused.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string_view>

#include "http/buffer.h"
#include "http/event_loop.h"
#include "http/listener.h"
#include "http/server_connection.h"
#include "http/server_service.h"

namespace tidegate::http {

// How many client connections may be open, over all sets that share it. Any thread.
class ConnectionCap {
 public:
  void set_limit(std::size_t limit) noexcept { limit_.store(limit, std::memory_order_relaxed); }
  std::size_t open() const noexcept { return open_.load(std::memory_order_relaxed); }
  bool take() noexcept {
    // Relaxed: a number that guards no other memory.
    if (open_.fetch_add(1, std::memory_order_relaxed) < limit_.load(std::memory_order_relaxed)) return true;
    give_back();
    return false;
  }
  void give_back() noexcept { open_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> open_{0}, limit_{~std::size_t{0}};
};

class ConnectionSet final : public AcceptHandler {
 public:
  ConnectionSet(EventLoop& loop, Service& service, BodyBudget& budget, ServerLimits limits = {});
  ~ConnectionSet();
  ConnectionSet(const ConnectionSet&) = delete;
  ConnectionSet& operator=(const ConnectionSet&) = delete;

  // Before the first connection. Who comes above the limit is answered 503 and closed.
  void share(ConnectionCap& cap) noexcept { cap_ = &cap; }
  void on_accept(UniqueFd fd, const PeerAddress& peer) noexcept override;

  // Idle connections close now, busy ones behind their response, which says so if its head is still to come.
  // New connections are served one request. The callback comes when the last one has gone (at once if none
  // is open); it may destroy the set only through the loop (post or defer_delete).
  void drain(std::function<void()> drained = {});
  bool draining() const noexcept { return draining_; }

  // Closes all. `last_words` is called for each connection with an open exchange and may finish() or abort()
  // it; what is not finished then is told on_client_gone() and reset.
  void force_close(const std::function<void(ServerConnection&, Responder&)>& last_words = {});

  std::size_t connections() const noexcept { return connections_; }
  std::size_t busy() const noexcept { return busy_; }  // with an open exchange
  std::uint64_t accepted() const noexcept { return accepted_; }
  std::uint64_t refused() const noexcept { return refused_; }  // could not be set up, or above the limit

  const ServerLimits& limits() const noexcept { return limits_; }
  void set_limits(const ServerLimits& limits) noexcept { limits_ = limits; }
  EventLoop& loop() noexcept { return loop_; }
  Service& service() noexcept { return service_; }
  BodyBudget& budget() noexcept { return budget_; }
  std::string_view date_line() noexcept;  // "Date: ...\r\n", made once a second

 private:
  friend class ServerConnection;
  static constexpr std::size_t input_size = 64 * 1024;
  static constexpr std::size_t max_turned_away = 16;
  void leave(ServerConnection& connection) noexcept;  // in the numbers
  void gone(ServerConnection& connection) noexcept;   // unlinks it and destroys it at the end of the batch

  EventLoop& loop_;
  Service& service_;
  BodyBudget& budget_;
  ServerLimits limits_;
  ServerConnection* first_ = nullptr;
  std::size_t connections_ = 0, busy_ = 0;
  std::uint64_t accepted_ = 0, refused_ = 0;
  ConnectionCap* cap_ = nullptr;
  std::size_t turned_away_ = 0;  // still open, so that their answer arrives
  bool draining_ = false;
  // Where requests are received and parsed. Not the loop's scratch: the application runs, and may read from
  // other connections, while the rest of a request or the next one still lies here. In use: feeding_.
  std::unique_ptr<char[]> input_{new char[input_size]};
  bool feeding_ = false;
  std::function<void()> drained_;
  std::time_t date_at_ = 0;
  std::size_t date_length_ = 0;
  char date_[40] = {};
};

}  // namespace tidegate::http
