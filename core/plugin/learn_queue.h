// What: what picks of one instance remembered, on its way to learn(): a bounded byte ring for each
//   thread.
// Threads: push(): the thread whose index is given. drain(): [control]. One writer and one reader a
//   ring.
// Ownership: rings are made by a thread's first push (one mapping, touched as it fills) and live
//   with the queue.
// Errors: a full ring, or no memory for one, drops the record and counts it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <tidegate/policy.h>

#include "plugin/thread_cell.h"

namespace tidegate::plugin {

constexpr std::uint32_t max_record = 64 * 1024;

class LearnQueue {
 public:
  explicit LearnQueue(std::size_t ring_bytes = std::size_t{1} << 20);  // a power of two, >= 2 * max_record
  ~LearnQueue();
  LearnQueue(const LearnQueue&) = delete;
  LearnQueue& operator=(const LearnQueue&) = delete;

  bool push(std::uint32_t thread, const void* data, std::uint32_t len) noexcept;
  // Hands on what was there when it began, in batches of one thread's records, oldest first. Yields their
  // number.
  std::size_t drain(const std::function<void(const tg_record*, std::uint32_t)>& take);
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct Ring;
  Ring* ring_of(std::uint32_t thread) noexcept;

  const std::size_t ring_bytes_;
  std::array<std::atomic<Ring*>, max_threads> rings_{};
  std::atomic<std::uint64_t> dropped_{0};
  std::vector<tg_record> batch_;
};

}  // namespace tidegate::plugin
