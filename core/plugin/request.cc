#include "plugin/request.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace tidegate::plugin {

struct alignas(std::max_align_t) Arena::Block {
  Block* below;
  std::uint32_t size_class;
  std::uint32_t capacity;
  char* data() noexcept { return reinterpret_cast<char*>(this + 1); }
};

namespace {

// Nearly every request needs the first class or nothing; the others are for policies that plan with long
// edits.
constexpr std::array<std::uint32_t, 3> class_bytes = {2 * 1024, 16 * 1024, 96 * 1024};
constexpr std::array<std::uint32_t, 3> class_kept = {256, 32, 4};  // free blocks a thread keeps

}  // namespace

// What a thread keeps of free blocks: after some requests no block comes from the heap.
struct BlockPool {
  struct Node {
    Node* next;
  };
  std::array<Node*, class_bytes.size()> free{};
  std::array<std::uint32_t, class_bytes.size()> count{};
  ~BlockPool() {
    for (Node*& list : free)
      while (list) std::free(std::exchange(list, list->next));
  }
};

namespace {

BlockPool& pool() noexcept {
  thread_local BlockPool blocks;
  return blocks;
}

}  // namespace

void* Arena::allocate(std::size_t len, std::size_t align) noexcept {
  if (align == 0) align = 1;
  if (!std::has_single_bit(align) || align > 4096) return nullptr;
  if (len == 0) len = 1;
  for (int tries = 0; tries < 2; ++tries) {
    if (top_) {
      const auto base = reinterpret_cast<std::uintptr_t>(top_->data());
      const std::uintptr_t start = (base + used_ + align - 1) & ~(align - 1);
      if (start + len <= base + top_->capacity) {
        used_ = start + len - base;
        return std::memset(reinterpret_cast<void*>(start), 0, len);
      }
    }
    std::uint32_t size_class = 0;
    while (size_class < class_bytes.size() && class_bytes[size_class] - sizeof(Block) < len + align)
      ++size_class;
    if (size_class == class_bytes.size()) return nullptr;
    // A second small block means that this request is no small one.
    if (top_ && size_class == 0) size_class = 1;
    BlockPool& blocks = pool();
    void* memory = blocks.free[size_class];
    if (memory) {
      blocks.free[size_class] = blocks.free[size_class]->next;
      --blocks.count[size_class];
    } else {
      memory = std::malloc(class_bytes[size_class]);
      if (!memory) return nullptr;
    }
    top_ =
        new (memory) Block{.below = top_,
                           .size_class = size_class,
                           .capacity = static_cast<std::uint32_t>(class_bytes[size_class] - sizeof(Block))};
    used_ = 0;
  }
  return nullptr;
}

void Arena::reset() noexcept {
  if (!top_) return;
  BlockPool& blocks = pool();
  while (top_) {
    Block* block = std::exchange(top_, top_->below);
    const std::uint32_t size_class = block->size_class;
    if (blocks.count[size_class] >= class_kept[size_class]) {
      std::free(block);
      continue;
    }
    blocks.free[size_class] = new (block) BlockPool::Node{blocks.free[size_class]};
    ++blocks.count[size_class];
  }
  used_ = 0;
}

}  // namespace tidegate::plugin

using tidegate::plugin::Ticket;

void* tg_request::allocate(std::size_t len, std::size_t align) noexcept {
  if (len > tidegate::plugin::arena_limit - plugin_bytes_) return nullptr;
  void* memory = arena_.allocate(len, align);
  if (memory) plugin_bytes_ += len;
  return memory;
}

// A request that waits is picked for again and again: what no open leg can point to is given back first.
void tg_request::begin_pick(const tidegate::plugin::TableSet* tables, const tidegate::plugin::SlotSets* slots,
                            const tg_pick_args* args) noexcept {
  if (open_legs_ == 0) {
    arena_.reset();
    plugin_bytes_ = 0;
    first_ = nullptr;
    ticket_count_ = 0;
  }
  tables_ = tables;
  slots_ = slots;
  root_args_ = args;
}

Ticket* tg_request::ticket(std::uint64_t id) noexcept {
  if (id == 0 || id > ticket_count_) return nullptr;
  Chunk* chunk = first_;
  for (std::uint64_t at = id - 1; at >= chunk_size; at -= chunk_size) chunk = chunk->next;
  return &chunk->tickets[(id - 1) % chunk_size];
}

std::uint64_t tg_request::issue(const Ticket& ticket) noexcept {
  Chunk** chunk = &first_;
  for (std::uint32_t at = ticket_count_; at >= chunk_size; at -= chunk_size) chunk = &(*chunk)->next;
  if (ticket_count_ % chunk_size == 0) {
    void* memory = arena_.allocate(sizeof(Chunk), alignof(Chunk));
    if (!memory) return 0;
    *chunk = new (memory) Chunk{};
  }
  (*chunk)->tickets[ticket_count_ % chunk_size] = ticket;
  return ++ticket_count_;
}
