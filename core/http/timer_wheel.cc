#include "http/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace tidegate::http {

namespace {

void splice_out(TimerLink& link) noexcept {
  link.prev->next = link.next;
  link.next->prev = link.prev;
  link.next = link.prev = &link;
}

void insert_before(TimerLink& at, TimerLink& link) noexcept {
  link.prev = at.prev;
  link.next = &at;
  at.prev->next = &link;
  at.prev = &link;
}

// Moves all of `from` into the empty list `to`.
void take_all(TimerLink& from, TimerLink& to) noexcept {
  if (from.next == &from) return;
  to.next = from.next;
  to.prev = from.prev;
  to.next->prev = &to;
  to.prev->next = &to;
  from.next = from.prev = &from;
}

}  // namespace

void Timer::disarm() noexcept {
  if (wheel_ != nullptr) wheel_->unlink(*this);
}

TimerWheel::~TimerWheel() {
  for (TimerLink& head : heads_) {
    while (head.next != &head) unlink(*static_cast<Timer*>(head.next));
  }
}

// A timer stands on the level of the highest digit (of 6 bits) in which its expiry differs from now: so every
// occupied slot of a level lies ahead of now's own digit there, and the first occupied slot of the lowest
// occupied level is the next thing to happen.
void TimerWheel::link(Timer& timer) noexcept {
  const auto differs = static_cast<unsigned>(std::bit_width(timer.expiry_ ^ now_) - 1);
  const unsigned level = differs / bits;
  const auto slot = static_cast<unsigned>(timer.expiry_ >> (level * bits)) % slots;
  timer.slot_ = static_cast<std::uint16_t>(level * slots + slot);
  insert_before(heads_[timer.slot_], timer);
  occupied_[level] |= std::uint64_t{1} << slot;
}

void TimerWheel::arm(Timer& timer, std::uint64_t expiry_ms) noexcept {
  timer.disarm();
  timer.expiry_ = std::clamp(expiry_ms, now_ + 1, now_ + longest);
  timer.wheel_ = this;
  ++armed_;
  link(timer);
}

void TimerWheel::unlink(Timer& timer) noexcept {
  splice_out(timer);
  timer.wheel_ = nullptr;
  --armed_;
  if (timer.slot_ == Timer::no_slot) return;
  const TimerLink& head = heads_[timer.slot_];
  if (head.next == &head) occupied_[timer.slot_ / slots] &= ~(std::uint64_t{1} << (timer.slot_ % slots));
  timer.slot_ = Timer::no_slot;
}

std::uint64_t TimerWheel::next_expiry() const noexcept {
  for (unsigned level = 0; level < levels; ++level) {
    if (occupied_[level] == 0) continue;
    const auto slot = static_cast<std::uint64_t>(std::countr_zero(occupied_[level]));
    const unsigned shift = level * bits;
    const std::uint64_t above = (now_ >> shift) & ~std::uint64_t{slots - 1};
    return (above | slot) << shift;
  }
  return never;
}

void TimerWheel::advance(std::uint64_t now_ms) noexcept {
  for (std::uint64_t at = next_expiry(); at <= now_ms; at = next_expiry()) {
    unsigned level = 0;
    while (occupied_[level] == 0) ++level;
    const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
    now_ = at;
    occupied_[level] &= ~(std::uint64_t{1} << slot);
    TimerLink taken;
    take_all(heads_[level * slots + slot], taken);
    fire(taken);
  }
  now_ = std::max(now_, now_ms);
}

// What is due fires; what only shared the slot of a higher level steps down. Both lists stay intact while
// callbacks disarm, destroy or arm whatever they like.
void TimerWheel::fire(TimerLink& taken) noexcept {
  TimerLink due;
  for (TimerLink* link = taken.next; link != &taken; link = taken.next) {
    auto& timer = *static_cast<Timer*>(link);
    splice_out(timer);
    if (timer.expiry_ > now_) {
      this->link(timer);
    } else {
      timer.slot_ = Timer::no_slot;
      insert_before(due, timer);
    }
  }
  while (due.next != &due) {
    auto& timer = *static_cast<Timer*>(due.next);
    unlink(timer);
    timer.callback_(timer.context_);
  }
}

}  // namespace tidegate::http
