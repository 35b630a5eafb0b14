// What: the runs of one loop whose policy said WAIT (or whose workers are not known to be ready yet), oldest
//   first, and what wakes them: a new view, or the end of a leg of their route on this loop. What neither
//   tells, such as the end of a leg on another loop, is found by each run's own timer.
// Threads: its loop's; published() comes from any.
// Ownership: borrows the runs, which take themselves out.
// Errors: none. Work is bounded: a leg's end wakes few, a view so many a millisecond.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "routing/view.h"

namespace tidegate::http {
class EventLoop;
}

namespace tidegate::routing {

class Run;

class WaitingRuns final : private ViewListener {
 public:
  WaitingRuns(http::EventLoop& loop, const ViewHub& hub) noexcept;
  ~WaitingRuns();

  void add(Run& run) noexcept;  // once; it keeps its place until it leaves
  void remove(Run& run) noexcept;
  void leg_ended(const Run& run) noexcept;

 private:
  void published() noexcept override;
  void wake_all() noexcept;

  http::EventLoop& loop_;
  const ViewHub& hub_;
  Run *first_ = nullptr, *last_ = nullptr;
  // Written by the loop, read by who publishes. Relaxed: a run that goes to wait beside a publication looks
  // at the view's number itself.
  std::atomic<std::uint32_t> count_{0};
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace tidegate::routing
