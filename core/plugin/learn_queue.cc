#include "plugin/learn_queue.h"

#include <cstring>
#include <new>

#include <sys/mman.h>

namespace tidegate::plugin {
namespace {

struct Header {
  std::uint32_t len, skip;  // skip: nothing more up to the end of the ring
};
constexpr std::uint64_t round_up(std::uint64_t n) noexcept { return (n + 7) & ~std::uint64_t{7}; }
constexpr std::uint32_t batch_limit = 1024;

}  // namespace

// Positions grow for ever; their low bits are the place. The writer publishes records by a release of `head`,
// the reader gives space back by a release of `tail`; each acquires the other's.
struct LearnQueue::Ring {
  alignas(64) std::atomic<std::uint64_t> head{0};
  alignas(64) std::atomic<std::uint64_t> tail{0};
  char* bytes = nullptr;
};

LearnQueue::LearnQueue(std::size_t ring_bytes) : ring_bytes_(ring_bytes) {}

LearnQueue::~LearnQueue() {
  for (auto& slot : rings_) {
    Ring* ring = slot.load(std::memory_order_acquire);
    if (!ring) continue;
    ::munmap(ring->bytes, ring_bytes_);
    delete ring;
  }
}

LearnQueue::Ring* LearnQueue::ring_of(std::uint32_t thread) noexcept {
  std::atomic<Ring*>& slot = rings_[thread];
  if (Ring* ring = slot.load(std::memory_order_relaxed))
    return ring;  // made by this very thread or one before it
  void* bytes = ::mmap(nullptr, ring_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) return nullptr;
  Ring* ring = new (std::nothrow) Ring;
  if (!ring) {
    ::munmap(bytes, ring_bytes_);
    return nullptr;
  }
  ring->bytes = static_cast<char*>(bytes);
  slot.store(ring, std::memory_order_release);  // the reader finds it whole
  return ring;
}

bool LearnQueue::push(std::uint32_t thread, const void* data, std::uint32_t len) noexcept {
  Ring* ring = len <= max_record && thread < max_threads - 1 ? ring_of(thread) : nullptr;
  if (ring) {
    const std::uint64_t head = ring->head.load(std::memory_order_relaxed);
    const std::uint64_t free = ring_bytes_ - (head - ring->tail.load(std::memory_order_acquire));
    const std::uint64_t need = sizeof(Header) + round_up(len);
    const std::uint64_t at = head & (ring_bytes_ - 1);
    const std::uint64_t to_end = ring_bytes_ - at;
    const std::uint64_t skipped = need > to_end ? to_end : 0;  // a record is in one piece
    if (need + skipped <= free) {
      if (skipped) new (ring->bytes + at) Header{.len = 0, .skip = 1};
      char* record = ring->bytes + ((head + skipped) & (ring_bytes_ - 1));
      new (record) Header{.len = len, .skip = 0};
      if (len) std::memcpy(record + sizeof(Header), data, len);
      ring->head.store(head + skipped + need, std::memory_order_release);
      return true;
    }
  }
  dropped_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

std::size_t LearnQueue::drain(const std::function<void(const tg_record*, std::uint32_t)>& take) {
  std::size_t all = 0;
  for (auto& slot : rings_) {
    Ring* ring = slot.load(std::memory_order_acquire);
    if (!ring) continue;
    const std::uint64_t head = ring->head.load(std::memory_order_acquire);
    std::uint64_t tail = ring->tail.load(std::memory_order_relaxed);
    while (tail != head) {
      batch_.clear();
      while (tail != head && batch_.size() < batch_limit) {
        const std::uint64_t at = tail & (ring_bytes_ - 1);
        Header header;
        std::memcpy(&header, ring->bytes + at, sizeof header);
        if (header.skip) {
          tail += ring_bytes_ - at;
          continue;
        }
        batch_.push_back({.data = ring->bytes + at + sizeof(Header), .len = header.len, .reserved = 0});
        tail += sizeof(Header) + round_up(header.len);
      }
      if (!batch_.empty()) take(batch_.data(), static_cast<std::uint32_t>(batch_.size()));
      all += batch_.size();
      ring->tail.store(tail, std::memory_order_release);
    }
  }
  return all;
}

}  // namespace tidegate::plugin
