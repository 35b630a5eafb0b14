#include "telemetry/cells.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace tidegate::telemetry {
namespace {

constexpr uint32_t max_bounds_kinds = 4096;

struct Store {
  std::mutex mutex;
  std::vector<std::unique_ptr<CellBlock>> blocks;   // [0]: the shared one
  std::vector<CellBlock*> idle;                     // of threads that have ended
  std::map<uint32_t, std::vector<CellIndex>> free;  // by count
  CellIndex next = 1;                               // 0 is the cell that nobody reads
  uint32_t chunks = 0;
  uint64_t in_use = 0, exhausted = 0;

  std::mutex bounds_mutex;
  // Written under the mutex, read by plugins' observe without it: the release store pairs with their acquire
  // load.
  std::atomic<const Bounds*> bounds[max_bounds_kinds] = {};
  uint32_t bounds_count = 0;
};

// Never destroyed: threads may still count while the process ends.
Store& store() {
  static Store* const instance = new Store;
  return *instance;
}

std::atomic<double>* new_chunk() { return new std::atomic<double>[chunk_cells](); }

}  // namespace

// Gives a thread's block back when the thread ends. Its counts stay in it, and the next thread goes on from
// them.
struct ThreadExit {
  CellBlock* block = nullptr;
  CellBlock** current = nullptr;
  ~ThreadExit() {
    if (block == nullptr) return;
    *current = nullptr;
    Store& s = store();
    const std::lock_guard lock(s.mutex);
    s.idle.push_back(block);
  }
};

CellBlock& Cells::attach_current() noexcept {
  static thread_local ThreadExit at_exit;
  Store& s = store();
  const std::lock_guard lock(s.mutex);
  (void)shared_locked();
  if (!s.idle.empty()) {
    // The mutex orders the old owner's last writes before the new owner's first.
    current_ = s.idle.back();
    s.idle.pop_back();
  } else {
    current_ = &add_block_locked();
  }
  at_exit.block = current_;
  at_exit.current = &current_;
  return *current_;
}

CellBlock& Cells::add_block_locked() {
  Store& s = store();
  CellBlock& block = *s.blocks.emplace_back(std::make_unique<CellBlock>());
  for (uint32_t i = 0; i < std::max(s.chunks, 1u); ++i) {
    block.chunks_[i].store(new_chunk(), std::memory_order_release);
  }
  s.chunks = std::max(s.chunks, 1u);
  return block;
}

CellBlock& Cells::shared_locked() {
  Store& s = store();
  return s.blocks.empty() ? add_block_locked() : *s.blocks.front();
}

CellBlock& Cells::shared() noexcept {
  static CellBlock& block = []() -> CellBlock& {
    const std::lock_guard lock(store().mutex);
    return shared_locked();
  }();
  return block;
}

void Cells::attach_thread() { (void)mine(); }

CellIndex Cells::reserve(uint32_t count) {
  Store& s = store();
  const std::lock_guard lock(s.mutex);
  (void)shared_locked();
  if (count == 0 || count > chunk_cells) return 0;
  if (auto found = s.free.find(count); found != s.free.end() && !found->second.empty()) {
    const CellIndex first = found->second.back();
    found->second.pop_back();
    s.in_use += count;
    return first;
  }
  const uint32_t used = s.next & (chunk_cells - 1);
  CellIndex first = s.next;
  if (used + count > chunk_cells) {  // the rest of the chunk serves single cells later
    for (CellIndex i = s.next; (i & (chunk_cells - 1)) != 0; ++i) s.free[1].push_back(i);
    first = (s.next | (chunk_cells - 1)) + 1;
  }
  const uint32_t chunk = first >> chunk_bits;
  if (chunk >= max_chunks) {
    ++s.exhausted;
    return 0;
  }
  if (chunk >= s.chunks) {
    for (auto& block : s.blocks) block->chunks_[chunk].store(new_chunk(), std::memory_order_release);
    s.chunks = chunk + 1;
  }
  s.next = first + count;
  s.in_use += count;
  return first;
}

// The one place where a thread writes another's cells: nobody holds the handle any more, so nobody adds to
// them, and the handle's next owner learns the index after this.
void Cells::release(CellIndex first, uint32_t count) noexcept {
  if (first == 0 || count == 0) return;
  Store& s = store();
  const std::lock_guard lock(s.mutex);
  for (auto& block : s.blocks) {
    for (uint32_t i = 0; i < count; ++i) block->at(first + i).store(0, std::memory_order_relaxed);
  }
  s.free[count].push_back(first);
  s.in_use -= count;
}

double Cells::sum(CellIndex index) noexcept {
  if (index == 0) return 0;
  Store& s = store();
  const std::lock_guard lock(s.mutex);
  double total = 0;
  for (auto& block : s.blocks) total += block->at(index).load(std::memory_order_relaxed);
  return total;
}

uint64_t Cells::in_use() noexcept {
  const std::lock_guard lock(store().mutex);
  return store().in_use;
}

uint64_t Cells::exhausted() noexcept {
  const std::lock_guard lock(store().mutex);
  return store().exhausted;
}

const Bounds& Cells::intern(std::span<const double> upper) {
  if (upper.empty() || upper.size() > max_histogram_bounds) {
    throw std::invalid_argument("a histogram needs 1 to " + std::to_string(max_histogram_bounds) +
                                " bounds, found " + std::to_string(upper.size()));
  }
  for (size_t i = 0; i < upper.size(); ++i) {
    if (!std::isfinite(upper[i]) || (i > 0 && !(upper[i - 1] < upper[i]))) {
      throw std::invalid_argument("a histogram's bounds must be finite and ascend; bound " +
                                  std::to_string(i + 1) + " does not (+Inf is added by itself)");
    }
  }
  Store& s = store();
  const std::lock_guard lock(s.bounds_mutex);
  for (uint32_t i = 0; i < s.bounds_count; ++i) {
    const Bounds& known = *s.bounds[i].load(std::memory_order_relaxed);
    if (std::equal(upper.begin(), upper.end(), known.upper, known.upper + known.count)) return known;
  }
  if (s.bounds_count == max_bounds_kinds) throw std::invalid_argument("too many different histogram bounds");
  auto* made = new Bounds{.id = s.bounds_count, .count = static_cast<uint32_t>(upper.size())};
  std::copy(upper.begin(), upper.end(), made->upper);
  s.bounds[s.bounds_count++].store(made, std::memory_order_release);
  return *made;
}

const Bounds& Cells::bounds(uint32_t id) noexcept {
  return *store().bounds[id < max_bounds_kinds ? id : 0].load(std::memory_order_acquire);
}

}  // namespace tidegate::telemetry
