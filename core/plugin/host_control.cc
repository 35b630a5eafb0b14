// tg.host.control/1 and tg.host.clock/1.
#include <algorithm>
#include <new>
#include <utility>

#include "plugin/containment.h"
#include "plugin/host.h"

namespace tidegate::plugin {

// Read and written on [control] only: posted tasks run there, and the host ends there.
struct InstanceHost::Life {
  bool alive = true;
};

namespace {

struct Posted {
  std::shared_ptr<void> life;
  std::shared_ptr<Containment> containment;
  void (*fn)(void*);
  void* argument;
};

// `fn` may end the host; what it throws is a slip.
void call_guarded(const std::shared_ptr<Containment>& containment, Function function, void (*fn)(void*),
                  void* argument) noexcept {
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): it keeps what fn may let go of
  const std::shared_ptr<Containment> kept = containment;
  kept->control_call(function, [&] {
    fn(argument);
    return TG_OK;
  });
}

}  // namespace

std::shared_ptr<InstanceHost::Life> InstanceHost::make_life() { return std::make_shared<Life>(); }

InstanceHost::~InstanceHost() {
  life_->alive = false;
  for (const auto& timer : timers_) environment_.cancel_timer(timer->id);
  for (const std::uint64_t metric : metrics_) environment_.metrics().release(metric);
}

void InstanceHost::run_posted(void* argument) noexcept {
  const std::unique_ptr<Posted> posted(static_cast<Posted*>(argument));
  if (!static_cast<Life*>(posted->life.get())->alive) return;
  call_guarded(posted->containment, Function::post, posted->fn, posted->argument);
}

bool InstanceHost::post(void (*fn)(void*), void* argument) noexcept {
  auto* posted = new (std::nothrow) Posted{life_, containment_, fn, argument};
  if (!posted) return false;
  if (environment_.post(run_posted, posted)) return true;
  delete posted;
  return false;
}

void InstanceHost::run_timer(void* argument) noexcept {
  const Timer timer = *static_cast<Timer*>(argument);  // fn may cancel its own timer
  InstanceHost& host = *timer.host;
  if (timer.once) std::erase_if(host.timers_, [&](const auto& t) { return t->id == timer.id; });
  call_guarded(host.containment_, Function::timer, timer.fn, timer.argument);
}

std::uint64_t InstanceHost::start_timer(std::uint64_t first_ms, std::uint64_t every_ms, void (*fn)(void*),
                                        void* argument) {
  timers_.push_back(std::make_unique<Timer>(Timer{this, fn, argument, 0, every_ms == 0}));
  Timer* timer = timers_.back().get();
  timer->id = environment_.start_timer(first_ms, every_ms, run_timer, timer);
  return timer->id;
}

// A timer of another instance is not ours to cancel.
void InstanceHost::cancel_timer(std::uint64_t timer) noexcept {
  if (std::erase_if(timers_, [&](const auto& t) { return t->id == timer; })) environment_.cancel_timer(timer);
}

namespace {

tg_status post(const tg_host* host, void (*fn)(void*), void* argument) {
  if (!fn) return TG_E_INVALID;
  return InstanceHost::of(host).post(fn, argument) ? TG_OK : TG_E_UNAVAILABLE;
}
std::uint64_t timer(const tg_host* host, std::uint64_t first_ms, std::uint64_t every_ms, void (*fn)(void*),
                    void* argument) {
  InstanceHost& self = InstanceHost::of(host);
  if (!fn || !self.environment().on_control_thread()) return 0;
  return self.start_timer(first_ms, every_ms, fn, argument);
}
void cancel(const tg_host* host, std::uint64_t timer) { InstanceHost::of(host).cancel_timer(timer); }
bool on_control_thread(const tg_host* host) {
  return InstanceHost::of(host).environment().on_control_thread();
}
void rebuild(const tg_host* host) { InstanceHost::of(host).environment().request_rebuild(); }

std::uint64_t monotonic_ns(const tg_host* host) {
  return InstanceHost::of(host).environment().monotonic_ns();
}
std::uint64_t unix_ms(const tg_host* host) { return InstanceHost::of(host).environment().unix_ms(); }
std::uint64_t random(const tg_host* host) { return InstanceHost::of(host).environment().random(); }

}  // namespace

const tg_host_control control_service = {.size = sizeof(tg_host_control),
                                         .reserved = 0,
                                         .post = post,
                                         .timer = timer,
                                         .cancel = cancel,
                                         .on_control_thread = on_control_thread,
                                         .rebuild = rebuild};
const tg_host_clock clock_service = {.size = sizeof(tg_host_clock),
                                     .reserved = 0,
                                     .monotonic_ns = monotonic_ns,
                                     .unix_ms = unix_ms,
                                     .random = random};

}  // namespace tidegate::plugin
