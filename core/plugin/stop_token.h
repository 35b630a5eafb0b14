// What: the host's side of tg_stop: asked by a runner, set by its owner.
// Threads: [any].
// Ownership: outlives the run() that got it.
// Errors: none.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include <tidegate/abi.h>

namespace tidegate::plugin {

class StopToken {
 public:
  StopToken() {
    abi_.size = sizeof(tg_stop);
    abi_.requested = [](const tg_stop* stop) { return of(stop).requested(); };
    abi_.wait_ms = [](const tg_stop* stop, std::uint32_t ms) { return of(stop).wait_ms(ms); };
    abi_.self = this;
  }
  StopToken(const StopToken&) = delete;
  StopToken& operator=(const StopToken&) = delete;

  const tg_stop* abi() const noexcept { return &abi_; }
  bool requested() const {
    const std::scoped_lock lock(mutex_);
    return requested_;
  }
  bool wait_ms(std::uint32_t ms) const {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return requested_; });
  }
  void request() {
    {
      const std::scoped_lock lock(mutex_);
      requested_ = true;
    }
    wake_.notify_all();
  }

 private:
  struct Abi : tg_stop {
    StopToken* self;
  };
  static StopToken& of(const tg_stop* stop) { return *static_cast<const Abi*>(stop)->self; }

  mutable std::mutex mutex_;
  mutable std::condition_variable wake_;
  bool requested_ = false;
  Abi abi_{};
};

}  // namespace tidegate::plugin
