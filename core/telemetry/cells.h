// What: counters for the hot path. A metric is a number of 64-bit cells at the same index in one block per
// thread; a thread
//   adds to its own cells with a plain load and store, and a collector sums an index over the blocks.
// Threads: handles [any], wait-free once the thread has a block (attach_thread(); else the first use makes
// one, under a
//   lock and with an allocation). reserve, release and sum [any], under a lock: never call them from an I/O
//   thread.
// Ownership: blocks live as long as the process, a dead thread's block goes to the next new thread. Who
// reserved cells
//   releases them, after every holder of the handle is gone; they are zeroed and used again.
// Errors: none on the hot path. reserve() gives 0 when all cells are taken: cell 0 is never read, so such a
// handle counts
//   into nothing. A default-made handle does the same.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tidegate::telemetry {

using CellIndex = uint32_t;

inline constexpr uint32_t chunk_bits = 11;
inline constexpr uint32_t chunk_cells = 1u << chunk_bits;  // 16 KiB a thread
inline constexpr uint32_t max_chunks = 2048;               // 4 M cells
inline constexpr uint32_t max_histogram_bounds = 64;

// One thread's cells. Chunks are added and never move, so an index stays good for ever.
class CellBlock {
 public:
  // The chunk was stored before the index was handed out; acquire pairs with that store, for threads that got
  // the index by some weaker path than a published view. Free on x86.
  std::atomic<double>& at(CellIndex index) noexcept {
    return chunks_[index >> chunk_bits].load(std::memory_order_acquire)[index & (chunk_cells - 1)];
  }
  // Only this block's thread writes the cell, so a relaxed load and a relaxed store make an exact add without
  // a locked instruction; being atomic they only promise the collector whole values. It may see two cells of
  // one metric from different moments (a sum without its count): nothing depends on more.
  void add(CellIndex index, double amount) noexcept {
    std::atomic<double>& cell = at(index);
    cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

 private:
  friend class Cells;
  std::atomic<std::atomic<double>*> chunks_[max_chunks] = {};
};

// The bounds of a histogram, ascending, without +Inf. Interned: equal bounds are one object, kept for ever.
struct Bounds {
  uint32_t id = 0;
  uint32_t count = 0;
  double upper[max_histogram_bounds] = {};
};

// All blocks of the process. Threads belong to the process, and so do these.
class Cells {
 public:
  static CellIndex reserve(uint32_t count);  // neighbours in one chunk, all 0; count <= chunk_cells
  static void release(CellIndex first, uint32_t count) noexcept;
  static double sum(CellIndex index) noexcept;
  static uint64_t in_use() noexcept;     // cells reserved
  static uint64_t exhausted() noexcept;  // reservations that got cell 0

  // Gives the calling thread its block now, so that the first add neither locks nor allocates.
  static void attach_thread();
  static CellBlock& mine() noexcept {
    CellBlock* block = current_;
    return block ? *block : attach_current();
  }
  static CellBlock& shared() noexcept;  // the block for cells that any thread writes (Gauge)

  static const Bounds& intern(
      std::span<const double> upper);                 // throws std::invalid_argument: not ascending, too many
  static const Bounds& bounds(uint32_t id) noexcept;  // [any] of an interned one

 private:
  static CellBlock& attach_current() noexcept;
  static CellBlock& add_block_locked();
  static CellBlock& shared_locked();
  static inline constinit thread_local CellBlock* current_ = nullptr;
};

// Grows only. Doubles count exactly to 2^53.
class Counter {
 public:
  Counter() = default;
  explicit Counter(CellIndex cell) noexcept : cell_(cell) {}
  void add(double amount = 1) const noexcept { Cells::mine().add(cell_, amount); }
  double value() const noexcept { return Cells::sum(cell_); }
  CellIndex cell() const noexcept { return cell_; }

 private:
  CellIndex cell_ = 0;
};

// A number of things that come and go: +1 on one thread may meet its -1 on another. Its cells are summed.
class UpDown {
 public:
  UpDown() = default;
  explicit UpDown(CellIndex cell) noexcept : cell_(cell) {}
  void add(double amount = 1) const noexcept { Cells::mine().add(cell_, amount); }
  void sub(double amount = 1) const noexcept { Cells::mine().add(cell_, -amount); }
  double value() const noexcept { return Cells::sum(cell_); }

 private:
  CellIndex cell_ = 0;
};

// A value that is set. One cell for all threads: set is a store, add a locked loop; not for every request.
class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(CellIndex cell) noexcept : cell_(cell) {}
  void set(double value) const noexcept { Cells::shared().at(cell_).store(value, std::memory_order_relaxed); }
  void add(double amount) const noexcept {
    Cells::shared().at(cell_).fetch_add(amount, std::memory_order_relaxed);
  }
  double value() const noexcept { return Cells::sum(cell_); }
  CellIndex cell() const noexcept { return cell_; }

 private:
  CellIndex cell_ = 0;
};

// A cell a bucket, one for what lies above the last bound, one for the sum.
class Histogram {
 public:
  Histogram() = default;
  Histogram(CellIndex first, const Bounds& bounds) noexcept : first_(first), bounds_(&bounds) {}
  void observe(double value) const noexcept {
    if (bounds_ == nullptr || first_ == 0) return;
    uint32_t bucket = 0;
    while (bucket < bounds_->count && value > bounds_->upper[bucket]) ++bucket;
    CellBlock& block = Cells::mine();
    block.add(first_ + bucket, 1);
    block.add(first_ + bounds_->count + 1, value);
  }
  static uint32_t cells(const Bounds& bounds) noexcept { return bounds.count + 2; }
  CellIndex first() const noexcept { return first_; }
  const Bounds* bounds() const noexcept { return bounds_; }

 private:
  CellIndex first_ = 0;
  const Bounds* bounds_ = nullptr;
};

}  // namespace tidegate::telemetry
