#include "fleet/slots.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <new>

namespace tidegate::fleet {

SlotTable::SlotTable() {
  void* memory = ::mmap(nullptr, sizeof(tg_worker_live) * max_slots, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  records_ = static_cast<tg_worker_live*>(memory);
}

SlotTable::~SlotTable() { ::munmap(records_, sizeof(tg_worker_live) * max_slots); }

std::optional<SlotTable::Lease> SlotTable::acquire() {
  std::lock_guard lock(mutex_);
  std::uint32_t slot;
  if (!free_.empty()) {
    std::pop_heap(free_.begin(), free_.end(), std::greater<>());
    slot = free_.back();
    free_.pop_back();
  } else if (generations_.size() < max_slots) {
    slot = static_cast<std::uint32_t>(generations_.size());
    generations_.push_back(0);
  } else {
    return std::nullopt;
  }
  ++used_;
  const std::uint32_t generation = ++generations_[slot];
  // Nobody else knows this slot: every view that showed its last worker is gone. Member by member all the
  // same, for readers that scan the whole table.
  tg_worker_live& live = records_[slot];
  for (std::uint32_t* member = &live.state; member != live.reserved; ++member) live_set(*member, 0);
  live_set(live.generation, generation);
  return Lease{slot, generation};
}

void SlotTable::release(std::uint32_t slot) noexcept {
  std::lock_guard lock(mutex_);
  live_set(records_[slot].state, TG_WORKER_GONE);
  --used_;
  free_.push_back(slot);
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

std::uint32_t SlotTable::capacity() const {
  std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(generations_.size());
}

std::uint32_t SlotTable::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

}  // namespace tidegate::fleet
