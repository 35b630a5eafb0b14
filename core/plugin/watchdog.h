// What: one thread that sees how long each thread has been inside the same plugin call. Over
//   `slow`: plugin and function are named and counted once; the instance of a [request] call is quarantined,
//   that of a [control] call is not (a build over thousands of workers may take long). Over `stalled`:
//   stalled() is true until that call returns. It looks every `period`, so times are exact to that. A call's
//   time is what its thread ran or slept in it. What it waited for a processor does not count, nor what the
//   watchdog itself came late: a host with too much to do is not the plugin's fault.
//   Calls within calls: the innermost is judged by its own time; the outermost by its own without what the
//   present innermost has taken so far, so a parent that goes round in short calls of its children is seen,
//   and one whose child hangs is not blamed.
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

// What the kernel knows of a thread. All zero where it does not tell.
struct ThreadTimes {
  std::uint64_t ran_ns = 0, waited_ns = 0;  // on a processor, and for one (up to when it last got one)
  bool runnable = false;                    // running, or waiting for a processor
};
ThreadTimes thread_times(std::int32_t kernel_id) noexcept;

class Watchdog {
 public:
  struct Options {
    std::uint64_t slow_ns = 100'000'000, stalled_ns = 10'000'000'000;
    std::uint32_t period_ms = 50;  // each look wakes a sleeping machine
    ThreadTimes (*times)(std::int32_t kernel_id) noexcept = thread_times;
  };
  Watchdog(HostEnvironment&, Options);
  explicit Watchdog(HostEnvironment& environment) : Watchdog(environment, Options{}) {}
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start();
  void stop();
  void inspect(std::uint64_t now_ns, std::uint64_t late_ns = 0);  // one look, which came so late
  // A plugin call has been running for over 10 s: /liveness and the service watchdog fail.
  bool stalled() const noexcept { return stalled_calls_.load(std::memory_order_relaxed) != 0; }

 private:
  struct Call {
    std::uint64_t word = 0, inside_ns = 0;
    bool slow = false, stalled = false;
  };
  struct Seen {
    Call inner, outer;
    std::uint64_t excused_ns = 0;  // of the outer call: what inner calls took that were named themselves
    ThreadTimes times;
    std::uint64_t changed_ns = 0, off_ns = 0;
  };
  void look_at(Seen&, const CellView&, std::uint64_t now_ns, std::uint64_t step_ns, std::uint64_t late_ns);
  std::uint64_t off_processor(Seen&, std::int32_t kernel_id, std::uint64_t now_ns) const noexcept;
  void follow(Call&, std::uint64_t word, std::uint64_t spent_ns);
  void judge(Call&, std::uint64_t inside_ns);
  void say(int level, std::uint64_t word, const char* text, std::uint64_t ns);

  HostEnvironment& environment_;
  const Options options_;
  std::uint64_t looked_ns_ = 0;
  std::array<Seen, max_threads> seen_{};
  std::atomic<std::uint32_t> stalled_calls_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tidegate::plugin
