// tidegate/testing/allocations.hpp - counts the program's allocations, so that the kit can forbid them in hot
// calls.
//
// What      Include it in exactly one source file of a test program: it replaces operator new and delete.
// Threads   Any.
// Ownership, errors: as operator new.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace tg::testing {
inline std::atomic<uint64_t> allocation_count{0};
inline void* counted(std::size_t size, std::size_t align) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);  // a number, nothing is published by it
  void* memory = nullptr;
  if (align <= alignof(std::max_align_t)) {
    memory = std::malloc(size ? size : 1);
  } else {
    memory = std::aligned_alloc(align, (size + align - 1) / align * align);
  }
  if (!memory) throw std::bad_alloc();
  return memory;
}
}  // namespace tg::testing

// NOLINTBEGIN(misc-definitions-in-headers): they replace the program's own, and one file of a test includes them
extern "C" uint64_t tg_testing_allocations() {
  return tg::testing::allocation_count.load(std::memory_order_relaxed);
}
void* operator new(std::size_t size) { return tg::testing::counted(size, 1); }
void* operator new[](std::size_t size) { return tg::testing::counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t a) {
  return tg::testing::counted(size, static_cast<size_t>(a));
}
void* operator new[](std::size_t size, std::align_val_t a) {
  return tg::testing::counted(size, static_cast<size_t>(a));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
// NOLINTEND(misc-definitions-in-headers)
