// What: the table of worker slots: who has which, and their live records, 64 bytes each, which never move.
// Threads: acquire() on the control thread; release() on any (the last user of a worker lets go of its slot);
// live records by
//   anybody through relaxed atomics.
// Ownership: the table owns the records; a Worker owns its slot until it dies.
// Errors: acquire() is empty when all slots are taken.
#pragma once

#include <tidegate/worker.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace tidegate::fleet {

// Adds to a member of a live record. Relaxed: each member is a number of its own and publishes nothing.
inline std::uint32_t live_add(std::uint32_t& member, std::uint32_t n) noexcept {
  return __atomic_add_fetch(&member, n, __ATOMIC_RELAXED);
}
inline void live_sub(std::uint32_t& member, std::uint32_t n) noexcept {
  __atomic_sub_fetch(&member, n, __ATOMIC_RELAXED);
}
inline void live_set(std::uint32_t& member, std::uint32_t value) noexcept {
  __atomic_store_n(&member, value, __ATOMIC_RELAXED);
}

class SlotTable {
 public:
  static constexpr std::uint32_t max_slots = 65'536;

  SlotTable();  // reserves address space for all records; pages are touched as slots are used
  ~SlotTable();
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;

  struct Lease {
    std::uint32_t slot, generation;
  };
  // A slot with a fresh record: generation set, state STARTING, counters 0. The lowest free one, so that
  // tables stay dense.
  std::optional<Lease> acquire();
  void release(std::uint32_t slot) noexcept;

  tg_worker_live& live(std::uint32_t slot) noexcept { return records_[slot]; }
  const tg_worker_live* records() const noexcept { return records_; }
  std::uint32_t capacity() const;  // every slot ever handed out is below it
  std::uint32_t used() const;

 private:
  tg_worker_live* records_;
  mutable std::mutex mutex_;
  std::vector<std::uint32_t> free_;         // a heap, the lowest on top
  std::vector<std::uint32_t> generations_;  // of slots handed out so far
  std::uint32_t used_ = 0;
};

}  // namespace tidegate::fleet
