// What: memory of short-lived objects of one class, kept by each thread for the next one: a request's objects
// cost no trip to
//   the general allocator. Derive as `class Run : public Pooled<Run>`; not for classes with further
//   descendants.
// Threads: each has its own free list; an object may be freed by another thread, whose list then gets it.
// Ownership: up to `most` blocks a thread and class, given back when the thread ends.
// Errors: std::bad_alloc, as operator new.
#pragma once

#include <cstddef>
#include <new>

namespace tidegate::routing {

template <class T>
class Pooled {
 public:
  static void* operator new(std::size_t size) {
    List& list = mine();
    if (Block* block = list.first) {
      list.first = block->next;
      --list.count;
      return block;
    }
    return ::operator new(size);
  }
  static void operator delete(void* memory) noexcept {
    List& list = mine();
    if (memory == nullptr || list.count >= most || list.ended) return ::operator delete(memory);
    list.first = ::new (memory) Block{list.first};
    ++list.count;
  }

 private:
  static constexpr std::size_t most = 256;
  struct Block {
    Block* next;
  };
  struct List {
    Block* first = nullptr;
    std::size_t count = 0;
    bool ended = false;
    ~List() {
      ended = true;
      while (Block* block = first) {
        first = block->next;
        ::operator delete(block);
      }
    }
  };
  static List& mine() noexcept {
    thread_local List list;
    return list;
  }
};

}  // namespace tidegate::routing
