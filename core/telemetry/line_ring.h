// What: a bounded ring of fixed-size lines from any thread to one writer thread. The logger and the access
// log stand on it. Threads: claim and publish [any], lock-free, never wait: a full ring drops the line and
// counts it. The rest: the writer thread. Ownership: the ring owns the slots; a claimed slot is the caller's
// until publish, which must follow, soon. Errors: a drop is the only one; dropped() counts them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tidegate::telemetry {

class LineRing {
 public:
  struct Slot {
    std::atomic<uint64_t> turn{0};  // position: free for it; position + 1: holds its line
    uint32_t length = 0;
    char* text = nullptr;  // line_bytes of room
  };

  LineRing(uint32_t lines, uint32_t line_bytes);  // lines: a power of two

  // The next free slot, or nullptr: full. Write text and length, then publish.
  Slot* claim() noexcept;
  void publish(Slot* slot) noexcept;

  // Writer thread: the oldest published line that has not been released, `ahead` lines further on, or
  // nullptr.
  const Slot* peek(uint32_t ahead) const noexcept;
  void release(uint32_t lines) noexcept;  // the oldest ones

  // Writer thread: sleep until a line is there or stop_waiting() was called, also if that was before.
  void wait() noexcept;
  void stop_waiting() noexcept;  // [any]

  uint32_t line_bytes() const noexcept { return line_bytes_; }
  uint32_t capacity() const noexcept { return lines_; }
  uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  void wake() noexcept;
  uint32_t lines_, line_bytes_;
  std::unique_ptr<char[]> text_;
  std::unique_ptr<Slot[]> slots_;
  alignas(64) std::atomic<uint64_t> tail_{0};  // producers
  alignas(64) std::atomic<uint64_t> dropped_{0};
  alignas(64) uint64_t head_ = 0;  // writer
  std::atomic<uint32_t> asleep_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace tidegate::telemetry
