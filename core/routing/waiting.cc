#include "routing/waiting.h"

#include "http/event_loop.h"
#include "routing/run.h"

namespace tidegate::routing {
namespace {

constexpr std::uint32_t woken_by_a_leg = 4;  // one has room now; the next ones may want something else
constexpr std::uint32_t looked_at = 256;     // for runs of the same route
constexpr std::uint32_t woken_a_millisecond = 64;

}  // namespace

WaitingRuns::WaitingRuns(http::EventLoop& loop, const ViewHub& hub) noexcept : loop_(loop), hub_(hub) {
  hub_.listen(*this);
}

WaitingRuns::~WaitingRuns() { hub_.unlisten(*this); }

void WaitingRuns::add(Run& run) noexcept {
  run.waiting_prev = last_;
  run.waiting_next = nullptr;
  (last_ ? last_->waiting_next : first_) = &run;
  last_ = &run;
  count_.fetch_add(1, std::memory_order_relaxed);
}

void WaitingRuns::remove(Run& run) noexcept {
  (run.waiting_prev ? run.waiting_prev->waiting_next : first_) = run.waiting_next;
  (run.waiting_next ? run.waiting_next->waiting_prev : last_) = run.waiting_prev;
  count_.fetch_sub(1, std::memory_order_relaxed);
}

void WaitingRuns::leg_ended(const Run& run) noexcept {
  std::uint32_t seen = 0, woken = 0;
  for (Run* other = first_; other && seen < looked_at && woken < woken_by_a_leg;
       other = other->waiting_next) {
    ++seen;
    if (other != &run && other->route_name() == run.route_name()) woken += other->wake(0);
  }
}

void WaitingRuns::published() noexcept {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  // The loop may outlive the context.
  loop_.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) wake_all();
  });
}

void WaitingRuns::wake_all() noexcept {
  std::uint32_t number = 0;
  for (Run* run = first_; run; run = run->waiting_next) run->wake(number++ / woken_a_millisecond);
}

}  // namespace tidegate::routing
