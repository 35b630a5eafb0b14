// What: one thread that sees how long each thread has been inside the same plugin call. Over
//   `slow`: plugin and function are named once and, for a [request] call, the instance is
//   quarantined. Over `stalled`: stalled() is true until that call returns. It looks every
//   `period`, so times are exact to that.
// Threads: start, stop: the owner's. stalled(): [any]. inspect(): the watchdog's thread, or a test
//   without it.
// Ownership: owns its thread; `environment` outlives it.
// Errors: start() throws std::system_error when no thread can be made.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "plugin/environment.h"
#include "plugin/thread_cell.h"

namespace tidegate::plugin {

class Watchdog {
 public:
  struct Options {
    std::uint64_t slow_ns = 100'000'000, stalled_ns = 10'000'000'000;
    std::uint32_t period_ms = 20;
  };
  Watchdog(HostEnvironment&, Options);
  explicit Watchdog(HostEnvironment& environment) : Watchdog(environment, Options{}) {}
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start();
  void stop();
  void inspect(std::uint64_t now_ns);  // one look
  // A plugin call has been running for over 10 s: /liveness and the service watchdog fail.
  bool stalled() const noexcept { return stalled_calls_.load(std::memory_order_relaxed) != 0; }

 private:
  struct Seen {
    std::uint64_t word = 0, since_ns = 0;
    bool slow = false, stalled = false;
  };
  void look_at(Seen&, std::uint64_t word, std::uint64_t now_ns);
  void say(int level, std::uint64_t word, const char* text, std::uint64_t ns);

  HostEnvironment& environment_;
  const Options options_;
  std::array<Seen, max_threads> seen_{};
  std::atomic<std::uint32_t> stalled_calls_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tidegate::plugin
