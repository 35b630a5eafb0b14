// What: a hierarchical timer wheel with 1 ms ticks: arm and disarm in O(1), intrusive, no allocation ever.
// Threads: none of its own; a wheel and its timers belong to one thread.
// Ownership: the wheel owns no timer. A timer unlinks itself on destruction and may be destroyed, armed or
//   disarmed from any timer's callback, its own included.
// Errors: none. A time already past fires at the next advance() that moves the wheel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tidegate::http {

class TimerWheel;

struct TimerLink {
  TimerLink* next = this;
  TimerLink* prev = this;
};

class Timer : private TimerLink {
 public:
  using Callback = void (*)(void* context) noexcept;

  Timer(Callback callback, void* context) noexcept : callback_(callback), context_(context) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { disarm(); }

  // The callback of a member function: Timer timer_{Timer::of<&Thing::on_timeout>, this};
  template <auto Method>
  static void of(void* object) noexcept {
    invoke(Method, object);
  }

  bool armed() const noexcept { return wheel_ != nullptr; }
  std::uint64_t expiry() const noexcept { return expiry_; }  // meaningful while armed
  void disarm() noexcept;

 private:
  friend class TimerWheel;
  template <class T>
  static void invoke(void (T::*method)() noexcept, void* object) noexcept {
    (static_cast<T*>(object)->*method)();
  }

  static constexpr std::uint16_t no_slot = 0xffff;

  TimerWheel* wheel_ = nullptr;
  std::uint64_t expiry_ = 0;
  Callback callback_;
  void* context_;
  std::uint16_t slot_ = no_slot;  // level * slots + slot; no_slot while in the list being fired
};

class TimerWheel {
 public:
  static constexpr std::uint64_t never = ~std::uint64_t{0};

  explicit TimerWheel(std::uint64_t now_ms = 0) noexcept : now_(now_ms) {}
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  ~TimerWheel();  // disarms what is left

  // (Re-)arms for an absolute time in the wheel's milliseconds.
  void arm(Timer& timer, std::uint64_t expiry_ms) noexcept;

  // Fires everything due up to `now_ms`, in the order of expiry, and moves the wheel there.
  void advance(std::uint64_t now_ms) noexcept;

  // When advance() should be called next: never later than the first expiry, possibly earlier (a far timer
  // steps down through the levels), `never` if nothing is armed.
  std::uint64_t next_expiry() const noexcept;

  std::uint64_t now() const noexcept { return now_; }
  std::size_t armed() const noexcept { return armed_; }

 private:
  friend class Timer;
  // 7 levels of 64 slots span 2^42 ms: more than a century, so levels never wrap.
  static constexpr unsigned bits = 6, slots = 1u << bits, levels = 7;
  static constexpr std::uint64_t longest = std::uint64_t{1} << (bits * levels - 1);

  void link(Timer& timer) noexcept;
  void unlink(Timer& timer) noexcept;
  void fire(TimerLink& taken) noexcept;

  std::uint64_t now_;
  std::size_t armed_ = 0;
  std::array<std::uint64_t, levels> occupied_{};  // one bit a slot
  std::array<TimerLink, levels * slots> heads_{};
};

}  // namespace tidegate::http
