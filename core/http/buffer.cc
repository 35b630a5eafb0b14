#include "http/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace tidegate::http {

namespace {

constexpr std::size_t smallest = 128;
constexpr std::size_t first_body = 4096;  // of unknown length

// Bodies up to this size live in blocks of this size, which each thread keeps for the next one: they are just
// above what the allocator caches itself.
constexpr std::size_t small_body = 4096;

struct SmallBodies {
  static constexpr std::size_t most = 64;
  char* blocks[most];
  std::size_t count = 0;
  bool ended = false;  // the thread is ending: nothing is kept any more
  ~SmallBodies() {
    ended = true;
    while (count != 0) std::free(blocks[--count]);
  }
};
thread_local SmallBodies small_bodies;

char* new_small_body() noexcept {
  SmallBodies& spare = small_bodies;
  if (spare.count != 0) return spare.blocks[--spare.count];
  return static_cast<char*>(std::malloc(small_body + Body::padding));
}

void free_body(char* memory, std::size_t capacity) noexcept {
  SmallBodies& spare = small_bodies;
  if (capacity != small_body || spare.count == SmallBodies::most || spare.ended) return std::free(memory);
  spare.blocks[spare.count++] = memory;
}

}  // namespace

ByteBuffer::ByteBuffer(ByteBuffer&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      begin_(std::exchange(other.begin_, 0)),
      end_(std::exchange(other.end_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

ByteBuffer& ByteBuffer::operator=(ByteBuffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  memory_ = std::exchange(other.memory_, nullptr);
  begin_ = std::exchange(other.begin_, 0);
  end_ = std::exchange(other.end_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

bool ByteBuffer::append(std::string_view bytes) noexcept {
  if (bytes.empty()) return true;
  char* to = prepare(bytes.size());
  if (to == nullptr) return false;
  std::memcpy(to, bytes.data(), bytes.size());
  end_ += bytes.size();
  return true;
}

char* ByteBuffer::prepare(std::size_t size) noexcept {
  if (capacity_ - end_ >= size && memory_ != nullptr) return memory_ + end_;
  const std::size_t held = end_ - begin_;
  // Move down rather than grow where that frees at least half: amortised O(1) a byte.
  if (memory_ != nullptr && begin_ >= capacity_ / 2 && capacity_ - held >= size) {
    std::memmove(memory_, memory_ + begin_, held);
  } else {
    const std::size_t wanted = std::max({held + size, held == 0 ? 0 : capacity_ * 2, smallest});
    auto* memory = static_cast<char*>(std::malloc(wanted));
    if (memory == nullptr) return nullptr;
    if (memory_ != nullptr && held != 0) std::memcpy(memory, memory_ + begin_, held);
    std::free(memory_);
    memory_ = memory;
    capacity_ = wanted;
  }
  begin_ = 0;
  end_ = held;
  return memory_ + end_;
}

void ByteBuffer::consume(std::size_t size) noexcept {
  begin_ += size;
  if (begin_ >= end_) release();
}

void ByteBuffer::release() noexcept {
  std::free(memory_);
  memory_ = nullptr;
  begin_ = end_ = capacity_ = 0;
}

Body::Body(Body&& other) noexcept
    : budget_(other.budget_),
      expected_(other.expected_),
      memory_(std::exchange(other.memory_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Body& Body::operator=(Body&& other) noexcept {
  if (this == &other) return *this;
  clear();
  budget_ = other.budget_;
  expected_ = other.expected_;
  memory_ = std::exchange(other.memory_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

bool Body::reserve(std::size_t capacity) noexcept {
  if (capacity <= capacity_) return true;
  const std::size_t wanted =
      memory_ == nullptr ? std::max(capacity, expected_ != 0 ? expected_ : std::min(first_body, capacity * 2))
                         : std::max(capacity, capacity_ * 2);
  if (memory_ == nullptr && wanted <= small_body) {
    memory_ = new_small_body();
    capacity_ = memory_ == nullptr ? 0 : small_body;
    return memory_ != nullptr;
  }
  auto* memory = static_cast<char*>(std::realloc(memory_, wanted + padding));
  if (memory == nullptr) return false;
  memory_ = memory;
  capacity_ = wanted;
  return true;
}

Body::Status Body::append(std::string_view bytes) noexcept {
  if (bytes.empty()) return Status::ok;
  if (budget_ != nullptr && !budget_->try_charge(bytes.size())) return Status::over_budget;
  if (!reserve(size_ + bytes.size())) {
    if (budget_ != nullptr) budget_->release(bytes.size());
    return Status::no_memory;
  }
  std::memcpy(memory_ + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
  return Status::ok;
}

std::span<char> Body::room(std::size_t at_least) noexcept {
  if (!reserve(size_ + at_least)) return {};
  return {memory_ + size_, capacity_ - size_};
}

Body::Status Body::commit(std::size_t written) noexcept {
  if (budget_ != nullptr && !budget_->try_charge(written)) return Status::over_budget;
  size_ += written;
  return Status::ok;
}

void Body::seal() noexcept {
  if (memory_ != nullptr) std::memset(memory_ + size_, 0, padding);
}

void Body::clear() noexcept {
  if (memory_ != nullptr) free_body(memory_, capacity_);
  if (budget_ != nullptr && size_ != 0) budget_->release(size_);
  memory_ = nullptr;
  size_ = capacity_ = 0;
}

}  // namespace tidegate::http
