// What: the way to each worker: its address and its own key. Names are asked again and again, and files of
// keys read, so that a worker that moves or gets another key is registered anew, and one whose name had no
// address at first comes in later.
// Threads: reach(): any that may block. The rest: the control thread; looking up is done by a thread of its
// own.
// Ownership: borrows loop and fleet. After stop() nothing is asked and the fleet is not touched any more; the
// object itself must outlive the loop's last task.
// Errors: reach() does not throw: it gives no endpoint and says why.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "control/blocking_pool.h"
#include "fleet/fleet.h"
#include "http/event_loop.h"

namespace tidegate::control {

// secret_ref: `file:/path`, `${NAME}` of the environment, or the key itself.
fleet::ResolvedSpec reach(fleet::WorkerSpec spec) noexcept;

class Addresses {
 public:
  using Reach = std::function<fleet::ResolvedSpec(fleet::WorkerSpec)>;

  Addresses(http::EventLoop& control, fleet::Fleet& fleet, Reach reach = control::reach)
      : control_(control), fleet_(fleet), reach_(std::move(reach)) {}
  ~Addresses() { stop(); }

  // Everybody is asked about once an interval; those without an address more often. Begins with the first
  // call.
  void set_interval(std::uint32_t interval_ms);
  void stop();

 private:
  void on_due() noexcept;
  void ask(std::vector<fleet::WorkerSpec> specs);

  static constexpr std::uint32_t retry_ms = 2'000;
  http::EventLoop& control_;
  fleet::Fleet& fleet_;
  Reach reach_;
  std::unique_ptr<BlockingPool> thread_;
  std::uint32_t interval_ms_ = 0;
  std::uint64_t all_at_ms_ = 0;
  bool asking_ = false;  // one round at a time: a slow name service is not asked ever more
  std::atomic<bool> stopped_{false};
  http::Timer due_{http::Timer::of<&Addresses::on_due>, this};
};

}  // namespace tidegate::control
