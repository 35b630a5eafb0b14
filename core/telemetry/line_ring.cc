// The ring is Vyukov's bounded queue, many producers and one consumer: a slot's turn says whose it is. A
// producer that finds the slot still full a lap later has found the ring full.
#include "telemetry/line_ring.h"

#include <stdexcept>

namespace tidegate::telemetry {

LineRing::LineRing(uint32_t lines, uint32_t line_bytes)
    : lines_(lines),
      line_bytes_(line_bytes),
      text_(std::make_unique_for_overwrite<char[]>(static_cast<size_t>(lines) * line_bytes)),
      slots_(std::make_unique<Slot[]>(lines)) {
  if (lines == 0 || (lines & (lines - 1)) != 0)
    throw std::invalid_argument("a ring's lines must be a power of two");
  for (uint32_t i = 0; i < lines; ++i) {
    slots_[i].turn.store(i, std::memory_order_relaxed);
    slots_[i].text = text_.get() + static_cast<size_t>(i) * line_bytes;
  }
}

LineRing::Slot* LineRing::claim() noexcept {
  uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (;;) {
    Slot& slot = slots_[tail & (lines_ - 1)];
    // Acquire: the writer has read the old line before we write the new one.
    const uint64_t turn = slot.turn.load(std::memory_order_acquire);
    if (turn == tail) {
      // Relaxed: the slot's turn orders its content; the tail only deals out positions.
      if (tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_relaxed)) return &slot;
    } else if (turn < tail) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return nullptr;
    } else {
      tail = tail_.load(std::memory_order_relaxed);
    }
  }
}

void LineRing::publish(Slot* slot) noexcept {
  // Sequentially consistent, here and in wait(): of "line published, then asleep read" and "asleep set, then
  // ring looked at" at least one sees the other's store, so no line waits for a sleeping writer.
  slot->turn.store(slot->turn.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst) != 0) wake();
}

const LineRing::Slot* LineRing::peek(uint32_t ahead) const noexcept {
  if (ahead >= lines_) return nullptr;
  const uint64_t position = head_ + ahead;
  const Slot& slot = slots_[position & (lines_ - 1)];
  return slot.turn.load(std::memory_order_acquire) == position + 1 ? &slot : nullptr;
}

void LineRing::release(uint32_t lines) noexcept {
  for (uint32_t i = 0; i < lines; ++i, ++head_) {
    slots_[head_ & (lines_ - 1)].turn.store(head_ + lines_, std::memory_order_release);
  }
}

void LineRing::wait() noexcept {
  asleep_.store(1, std::memory_order_seq_cst);
  const bool empty = slots_[head_ & (lines_ - 1)].turn.load(std::memory_order_seq_cst) != head_ + 1;
  if (empty && !stopped_.load(std::memory_order_seq_cst)) asleep_.wait(1, std::memory_order_relaxed);
  asleep_.store(0, std::memory_order_relaxed);
  // An exchange, for it reads what it clears: the caller then sees whatever was said before stop_waiting().
  (void)stopped_.exchange(false, std::memory_order_acq_rel);
}

void LineRing::stop_waiting() noexcept {
  stopped_.store(true, std::memory_order_seq_cst);
  wake();
}

void LineRing::wake() noexcept {
  if (asleep_.exchange(0, std::memory_order_seq_cst) != 0) asleep_.notify_one();
}

}  // namespace tidegate::telemetry
