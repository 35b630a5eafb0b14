// What: ByteBuffer, a growable byte queue that owns no memory while empty; Body, a whole request body with
//   padding behind it for SIMD scanning; BodyBudget, one limit for all buffered bodies together.
// Threads: a budget is shared by all threads; buffers and bodies belong to one thread at a time.
// Ownership: move-only owners. A Body gives back what it has charged when it dies.
// Errors: never throws; out of memory is a false (or an empty Body), to be answered like an exhausted budget.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tidegate::http {

class ByteBuffer {
 public:
  ByteBuffer() noexcept = default;
  ByteBuffer(ByteBuffer&& other) noexcept;
  ByteBuffer& operator=(ByteBuffer&& other) noexcept;
  ~ByteBuffer() { release(); }

  bool empty() const noexcept { return begin_ == end_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  std::size_t capacity() const noexcept { return capacity_; }
  const char* data() const noexcept { return memory_ + begin_; }
  char* data() noexcept { return memory_ + begin_; }
  std::string_view view() const noexcept { return {data(), size()}; }

  [[nodiscard]] bool append(std::string_view bytes) noexcept;
  // Room for `size` more bytes behind the content; null when out of memory. Then commit() what was written.
  [[nodiscard]] char* prepare(std::size_t size) noexcept;
  void commit(std::size_t size) noexcept { end_ += size; }
  void consume(std::size_t size) noexcept;  // from the front; the memory goes when nothing is left
  void release() noexcept;

 private:
  char* memory_ = nullptr;
  std::size_t begin_ = 0, end_ = 0, capacity_ = 0;
};

class BodyBudget {
 public:
  explicit BodyBudget(std::uint64_t limit = ~std::uint64_t{0} >> 1) noexcept : limit_(limit) {}
  BodyBudget(const BodyBudget&) = delete;
  BodyBudget& operator=(const BodyBudget&) = delete;

  // A statistic that guards no other data: relaxed. Two threads may both be refused close to the limit.
  [[nodiscard]] bool try_charge(std::uint64_t bytes) noexcept {
    if (used_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= limit()) return true;
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }
  void release(std::uint64_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  std::uint64_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  void set_limit(std::uint64_t limit) noexcept { limit_.store(limit, std::memory_order_relaxed); }

 private:
  // Every loop writes here: a cache line of its own.
  alignas(64) std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> limit_;
};

class Body {
 public:
  static constexpr std::size_t padding = 64;  // readable behind size(), zeroed by seal()

  enum class Status : std::uint8_t { ok, over_budget, no_memory };

  Body() noexcept = default;
  // Bytes are charged as they arrive. Memory for `expected` bytes is reserved by the first of them; pages
  // that nobody has written to cost nothing. 0 = length unknown: grows geometrically.
  explicit Body(BodyBudget* budget, std::size_t expected = 0) noexcept
      : budget_(budget), expected_(expected) {}
  Body(Body&& other) noexcept;
  Body& operator=(Body&& other) noexcept;
  ~Body() { clear(); }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::size_t capacity() const noexcept { return capacity_; }  // without the padding
  const char* data() const noexcept { return memory_; }
  char* data() noexcept { return memory_; }
  std::string_view view() const noexcept { return {memory_, size_}; }

  [[nodiscard]] Status append(std::string_view bytes) noexcept;
  // Receive in place: where to write (at most room.size() bytes); then commit(). Empty: out of memory.
  [[nodiscard]] std::span<char> room(std::size_t at_least) noexcept;
  [[nodiscard]] Status commit(std::size_t written) noexcept;
  void seal() noexcept;  // complete: clears the padding
  void clear() noexcept;

 private:
  bool reserve(std::size_t capacity) noexcept;

  BodyBudget* budget_ = nullptr;
  std::size_t expected_ = 0;
  char* memory_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace tidegate::http
