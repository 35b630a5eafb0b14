#include "plugin/containment.h"

#include <sys/resource.h>

#include <cstdio>
#include <mutex>
#include <unordered_map>
#include <utility>

#include <time.h>

namespace tidegate::plugin {
namespace {

struct Known {
  std::mutex mutex;
  std::uint32_t last_id = 0;
  std::unordered_map<std::uint32_t, std::weak_ptr<Containment>> by_id;
};
Known& known() {
  static Known& table = *new Known;  // for ever: instances may end after static destructors began
  return table;
}

void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int log_warn = 3;  // TG_LOG_WARN; host.h is not needed for the rest
constexpr int log_error = 4;

}  // namespace

std::shared_ptr<Containment> Containment::create(HostEnvironment& environment, Names names, bool concurrent,
                                                 ContainmentLimits limits) {
  std::shared_ptr<Containment> made(new Containment(environment, std::move(names), concurrent, limits));
  const std::scoped_lock lock(known().mutex);
  made->id_ = ++known().last_id;  // 2^32 instances are not reached
  known().by_id.emplace(made->id_, made);
  return made;
}

std::shared_ptr<Containment> Containment::find(std::uint32_t id) {
  const std::scoped_lock lock(known().mutex);
  const auto at = known().by_id.find(id);
  return at == known().by_id.end() ? nullptr : at->second.lock();
}

Containment::Containment(HostEnvironment& environment, Names names, bool concurrent, ContainmentLimits limits)
    : environment_(environment), names_(std::move(names)), concurrent_(concurrent), limits_([&] {
        if (limits.budget_ns == 0) limits.budget_ns = environment.call_budget_ns();
        return limits;
      }()) {}

Containment::~Containment() {
  const std::scoped_lock lock(known().mutex);
  known().by_id.erase(id_);
}

bool Containment::lock() noexcept {
  bool expected = false;
  return locked_.compare_exchange_strong(expected, true, std::memory_order_acquire,
                                         std::memory_order_relaxed) ||
         wait_for_lock();
}

bool Containment::wait_for_lock() noexcept {
  const std::uint64_t started = environment_.monotonic_ns();
  bool held = false;
  for (std::uint32_t round = 0; quarantine() != Quarantine::stall; ++round) {
    bool expected = false;
    held =
        !locked_.load(std::memory_order_relaxed) &&
        locked_.compare_exchange_weak(expected, true, std::memory_order_acquire, std::memory_order_relaxed);
    if (held) break;
    // A pick takes tens of ns, so spinning is right; after some microseconds its holder is likely off its
    // core.
    if (round < 256) {
      relax();
    } else {
      const timespec pause{.tv_sec = 0, .tv_nsec = 20'000};
      ::nanosleep(&pause, nullptr);
    }
  }
  serial_waits_.fetch_add(1, std::memory_order_relaxed);
  serial_wait_ns_.fetch_add(environment_.monotonic_ns() - started, std::memory_order_relaxed);
  return held;
}

long Containment::preemptions() noexcept {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

// Halving both numbers when the window is full keeps a share that forgets, without storing the calls.
void Containment::timed(Function function, std::uint64_t ns, long preempted_before) noexcept {
  timed_calls_.fetch_add(1, std::memory_order_relaxed);
  timed_ns_.fetch_add(ns, std::memory_order_relaxed);
  // Its time goes with the body that it is given, up to many MiB: the watchdog alone judges it.
  if (function == Function::transform) return;
  const std::uint32_t sampled = sampled_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (ns > limits_.budget_ns && preemptions() == preempted_before) {
    const std::uint32_t over = over_.fetch_add(1, std::memory_order_relaxed) + 1;
    char text[96];
    std::snprintf(text, sizeof text, "took %llu us, the budget is %llu us",
                  static_cast<unsigned long long>(ns / 1000),
                  static_cast<unsigned long long>(limits_.budget_ns / 1000));
    slip(Slip::over_budget, function, text);
    if (over >= limits_.over_budget)
      enter_quarantine(Quarantine::budget, "the p99 of its calls is over their time budget");
  }
  if (sampled >= limits_.sampled) {
    sampled_.store(sampled / 2, std::memory_order_relaxed);
    over_.store(over_.load(std::memory_order_relaxed) / 2, std::memory_order_relaxed);
  }
}

void Containment::threw(Function function, const char* what) noexcept {
  slip(Slip::exception, function, what);
}

void Containment::slip(Slip kind, Function function, std::string_view detail) noexcept {
  slips_[static_cast<std::size_t>(kind)].fetch_add(1, std::memory_order_relaxed);
  unlogged_.fetch_add(1, std::memory_order_relaxed);
  // Slow calls have a count of their own, and what fails on the control thread (a build keeps the last table)
  // costs no request.
  if (kind != Slip::over_budget && is_request_call(function)) {
    if (consecutive_.fetch_add(1, std::memory_order_relaxed) + 1 >= limits_.consecutive_slips)
      enter_quarantine(Quarantine::slips, "too many slips in a row");
    count_in_window(true);
  }

  const std::uint64_t now = environment_.monotonic_ns();
  std::uint64_t last = logged_at_.load(std::memory_order_relaxed);
  if (last != 0 && now < last + limits_.log_window_ns) return;
  const std::uint64_t mark = now ? now : 1;  // 0: never
  if (!logged_at_.compare_exchange_strong(last, mark, std::memory_order_relaxed))
    return;  // another thread logs
  char count[24];
  std::snprintf(count, sizeof count, "%llu",
                static_cast<unsigned long long>(unlogged_.exchange(0, std::memory_order_relaxed)));
  const LogField fields[] = {{"plugin", names_.plugin},
                             {"component", names_.component},
                             {"function", function_name(function)},
                             {"slip", slip_name(kind)},
                             {"detail", detail},
                             {"slips_since_last_line", count}};
  environment_.log(log_warn, names_.instance, "a plugin call went wrong", fields);
}

// Whoever fills the window judges it. Good calls are counted only while one is open, so that picks of a
// healthy instance share no counter.
void Containment::count_in_window(bool slipped) noexcept {
  const std::uint64_t one = std::uint64_t{slipped} << 32 | 1;
  std::uint64_t filled = window_.fetch_add(one, std::memory_order_relaxed) + one;
  if ((filled & 0xffffffff) < limits_.window) return;
  if (window_.compare_exchange_strong(filled, 0, std::memory_order_relaxed) &&
      filled >> 32 >= limits_.window_slips)
    enter_quarantine(Quarantine::slips, "too many slips among its calls");
}

void Containment::enter_quarantine(Quarantine why, std::string_view detail) noexcept {
  Quarantine expected = Quarantine::none;
  if (!quarantine_.compare_exchange_strong(expected, why, std::memory_order_relaxed)) {
    // A stall is worse than what came before: completes must stop too.
    if (why == Quarantine::stall) quarantine_.store(why, std::memory_order_relaxed);
    return;
  }
  const LogField fields[] = {{"plugin", names_.plugin},
                             {"component", names_.component},
                             {"reason", quarantine_name(why)},
                             {"detail", detail}};
  environment_.log(log_error, names_.instance, "plugin instance quarantined until the next reload", fields);
}

std::uint64_t Containment::all_slips() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& n : slips_) sum += n.load(std::memory_order_relaxed);
  return sum;
}

const char* slip_name(Slip slip) noexcept {
  switch (slip) {
    case Slip::status: return "status";
    case Slip::exception: return "exception";
    case Slip::verdict: return "verdict";
    case Slip::leg_count: return "leg_count";
    case Slip::leg: return "leg";
    case Slip::slot: return "slot";
    case Slip::relay: return "relay";
    case Slip::capture: return "capture";
    case Slip::edit: return "edit";
    case Slip::ticket: return "ticket";
    case Slip::score: return "score";
    case Slip::build: return "build";
    case Slip::over_budget: return "over_budget";
    case Slip::last_: break;
  }
  return "none";
}

const char* quarantine_name(Quarantine why) noexcept {
  switch (why) {
    case Quarantine::none: break;
    case Quarantine::slips: return "slips";
    case Quarantine::budget: return "budget";
    case Quarantine::stall: return "stall";
  }
  return "none";
}

}  // namespace tidegate::plugin
