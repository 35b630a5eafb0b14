// What: the two guarded calls of containment.h; included by it only. Inline, because every pick
//   goes through.
// Threads, ownership, errors: as in containment.h.
#pragma once

#include <exception>
#include <utility>

#include "plugin/containment.h"

namespace tidegate::plugin {

// The ABI's set is closed: an unknown status is TG_E_INTERNAL.
constexpr tg_status own_status(tg_status s) noexcept {
  return s < TG_OK || s > TG_E_INTERNAL ? TG_E_INTERNAL : s;
}

template <class Fn>
tg_status Containment::request_call(Function function, Fn&& fn) noexcept {
  ThreadCell& cell = this_thread();
  if (!concurrent_ && !lock()) return call_skipped;
  const bool timing = --cell.until_sample == 0;
  std::uint64_t started = 0;
  long preempted = 0;
  if (timing) [[unlikely]] {
    cell.until_sample = sample_period;
    preempted = preemptions();
    started = environment_.monotonic_ns();
  }
  tg_status status = call_threw;
  try {
    Inside inside(cell, id_, function);
    status = own_status(std::forward<Fn>(fn)());
  } catch (const std::exception& e) {
    threw(function, e.what());
  } catch (...) {
    threw(function, "an exception that is no std::exception");
  }
  if (!concurrent_) unlock();
  if (timing) [[unlikely]]
    timed(function, environment_.monotonic_ns() - started, preempted);
  return status;
}

template <class Fn>
tg_status Containment::control_call(Function function, Fn&& fn) noexcept {
  try {
    Inside inside(this_thread(), id_, function);
    return own_status(std::forward<Fn>(fn)());
  } catch (const std::exception& e) {
    threw(function, e.what());
  } catch (...) {
    threw(function, "an exception that is no std::exception");
  }
  return call_threw;
}

template <class Fn>
tg_status Containment::exclusive_call(Function function, Fn&& fn) noexcept {
  const Turn turn(*this);
  return turn ? control_call(function, std::forward<Fn>(fn)) : call_skipped;
}

}  // namespace tidegate::plugin
