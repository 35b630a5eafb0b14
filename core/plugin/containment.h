// What: what keeps one plugin instance's mistakes from the gateway: marks for the watchdog,
//   exceptions caught, calls serialised unless the instance is concurrent, slips counted and logged
//   once a window, quarantine.
// Threads: all of it [any]; counters are relaxed atomics (numbers of their own, they publish nothing).
// Ownership: shared; the process's table holds weak references, so that the watchdog can come from an id.
// Errors: nothing throws. A caught exception is a slip.
#pragma once

#include <tidegate/abi.h>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "plugin/environment.h"
#include "plugin/thread_cell.h"

namespace tidegate::plugin {

enum class Slip : std::uint8_t {
  status,
  exception,
  verdict,
  leg_count,
  leg,
  slot,
  relay,
  capture,
  edit,
  ticket,
  score,
  build,
  over_budget,
  last_
};
constexpr std::size_t slip_kinds = static_cast<std::size_t>(Slip::last_);
const char* slip_name(Slip) noexcept;

// Why an instance is out of service; the first reason stays until a reload makes a new instance.
enum class Quarantine : std::uint8_t { none, slips, budget, stall };
const char* quarantine_name(Quarantine) noexcept;

struct ContainmentLimits {
  // Keeps at it: so many slips in a row, or so many among `window` calls; the window opens with a slip.
  std::uint32_t consecutive_slips = 16;
  std::uint32_t window = 64, window_slips = 16;
  std::uint64_t budget_ns =
      0;  // of one [request] call, of which one in sample_period is timed; 0: the environment's
  // More than one in a hundred of the timed calls over the budget means that their p99 is: quarantine. 12
  // and not 11, as halving rounds: one in a hundred for ever is within the budget.
  std::uint32_t over_budget = 12, sampled = 1024;
  std::uint64_t log_window_ns = 10'000'000'000;
};
// What guarded calls yield besides a plugin's own status: it threw (counted already); it was not called,
// because the instance was quarantined while this call waited for its turn.
constexpr tg_status call_threw = -1, call_skipped = -2;
constexpr std::uint32_t sample_period = 61;  // odd, so that a parent and its one child are both timed

class Containment {
 public:
  struct Names {
    std::string plugin, component, instance;
  };
  static std::shared_ptr<Containment> create(HostEnvironment&, Names, bool concurrent, ContainmentLimits);
  static std::shared_ptr<Containment> find(std::uint32_t id);  // null: gone
  ~Containment();

  const Names& names() const noexcept { return names_; }
  std::uint32_t id() const noexcept { return id_; }
  Quarantine quarantine() const noexcept { return quarantine_.load(std::memory_order_relaxed); }
  bool quarantined() const noexcept { return quarantine() != Quarantine::none; }
  void enter_quarantine(Quarantine why, std::string_view detail) noexcept;

  // Calls fn(), which yields a tg_status, as a [request] call.
  template <class Fn>
  tg_status request_call(Function, Fn&& fn) noexcept;
  // Calls fn() as a [control] call.
  template <class Fn>
  tg_status control_call(Function, Fn&& fn) noexcept;
  // The same while no [request] call of an instance that is not concurrent runs; call_skipped as for those.
  template <class Fn>
  tg_status exclusive_call(Function, Fn&& fn) noexcept;
  // Takes turns with those calls for as long as it lives; false: the instance stalls, it was not taken.
  class Turn {
   public:
    explicit Turn(Containment& c) noexcept : containment_(c), held_(c.concurrent_ || c.lock()) {}
    ~Turn() {
      if (held_ && !containment_.concurrent_) containment_.unlock();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    explicit operator bool() const noexcept { return held_; }

   private:
    Containment& containment_;
    const bool held_;
  };

  void slip(Slip, Function, std::string_view detail) noexcept;
  void went_well() noexcept {
    if (consecutive_.load(std::memory_order_relaxed) != 0) consecutive_.store(0, std::memory_order_relaxed);
    if (window_.load(std::memory_order_relaxed) != 0) count_in_window(false);
  }
  void count_slow_call() noexcept { slow_calls_.fetch_add(1, std::memory_order_relaxed); }

  std::uint64_t slips(Slip kind) const noexcept {
    return slips_[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
  }
  std::uint64_t all_slips() const noexcept;
  std::uint64_t slow_calls() const noexcept { return slow_calls_.load(std::memory_order_relaxed); }
  std::uint64_t serial_waits() const noexcept { return serial_waits_.load(std::memory_order_relaxed); }
  // The sample of [request] calls that is timed, and what those took.
  std::uint64_t timed_calls() const noexcept { return timed_calls_.load(std::memory_order_relaxed); }
  std::uint64_t timed_ns() const noexcept { return timed_ns_.load(std::memory_order_relaxed); }
  std::uint64_t serial_wait_ns() const noexcept { return serial_wait_ns_.load(std::memory_order_relaxed); }

 private:
  Containment(HostEnvironment&, Names, bool concurrent, ContainmentLimits);
  bool lock() noexcept;  // false: quarantined meanwhile, not locked
  bool wait_for_lock() noexcept;
  void count_in_window(bool slipped) noexcept;
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }
  // How often the kernel took the processor from this thread: what was lost then is not the plugin's time.
  static long preemptions() noexcept;
  void timed(Function, std::uint64_t ns, long preempted_before) noexcept;
  void threw(Function, const char* what) noexcept;

  HostEnvironment& environment_;
  const Names names_;
  const bool concurrent_;
  const ContainmentLimits limits_;
  std::uint32_t id_ = 0;
  std::atomic<Quarantine> quarantine_{Quarantine::none};
  std::atomic<std::uint32_t> consecutive_{0};
  std::atomic<std::uint64_t> window_{0};  // slips << 32 | calls; 0: closed
  std::atomic<std::uint64_t> slow_calls_{0};
  std::array<std::atomic<std::uint64_t>, slip_kinds> slips_{};
  std::atomic<std::uint64_t> logged_at_{0}, unlogged_{0}, serial_waits_{0}, serial_wait_ns_{0};
  std::atomic<std::uint64_t> timed_calls_{0}, timed_ns_{0};
  std::atomic<std::uint32_t> sampled_{0}, over_{0};
  // Taken with acquire, given with release: what one serialised call wrote is seen by the next. Not a mutex,
  // because a waiter must give up when the holder stalls and is quarantined.
  alignas(64) std::atomic<bool> locked_{false};
};

}  // namespace tidegate::plugin

#include "plugin/containment_call.h"
