// What: where each thread says that it is inside a plugin, for the watchdog to see; and small
//   per-thread things.
// Threads: a cell is written by its own thread, read by the watchdog. this_thread() makes it on
//   first use.
// Ownership: cells are the process's; a thread's place is used again after its end. At most
//   max_threads at once; threads beyond share the last place and are not watched.
// Errors: none.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace tidegate::plugin {

enum class Function : std::uint8_t {
  none,
  load,  // library constructors and tg_plugin_v1()
  init,
  create,
  destroy,
  adopt,
  export_state,
  import_state,
  build,
  release,
  learn,
  describe,
  post,   // a function given to tg_host_control.post
  timer,  // one given to tg_host_control.timer
  pick,
  complete,
  transform,
  score
};
const char* function_name(Function) noexcept;
constexpr bool is_request_call(Function f) noexcept { return f >= Function::pick; }

constexpr std::uint32_t max_threads = 128;

struct alignas(64) ThreadCell {
  // 0: outside. Else containment id << 32 | function << 24 | a number that tells calls apart.
  // Release/acquire is not needed to publish anything: the word is all there is. Relaxed stores by one
  // thread.
  std::atomic<std::uint64_t> inside{0};
  // The word of the outermost call that the thread is in: a parent that goes round in calls of its children
  // changes `inside` all the time.
  std::atomic<std::uint64_t> outermost{0};
  std::atomic<std::int32_t> kernel_id{0};  // of its thread, as in /proc/self/task
  std::uint32_t calls = 0;                 // own thread only: low 24 bits go into `inside`
  std::uint32_t until_sample = 1;          // own thread only: calls until the next one that is timed
  std::uint32_t index = 0;
};

ThreadCell& register_thread() noexcept;
extern constinit thread_local ThreadCell* current_cell;
inline ThreadCell& this_thread() noexcept { return current_cell ? *current_cell : register_thread(); }

// The watchdog's view of each place.
struct CellView {
  std::uint64_t inside = 0, outermost = 0;
  std::int32_t kernel_id = 0;
};
std::array<CellView, max_threads> cells_inside() noexcept;

constexpr std::uint32_t inside_id(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32);
}
constexpr Function inside_function(std::uint64_t word) noexcept {
  return static_cast<Function>((word >> 24) & 0xff);
}

// Marks the thread as inside for its lifetime. Nested calls restore the outer mark.
class Inside {
 public:
  Inside(ThreadCell& cell, std::uint32_t containment, Function function) noexcept
      : cell_(cell), outer_(cell.inside.load(std::memory_order_relaxed)) {
    const std::uint64_t word = std::uint64_t{containment} << 32 |
                               std::uint64_t{static_cast<std::uint8_t>(function)} << 24 |
                               (++cell.calls & 0xffffff);
    if (outer_ == 0) cell.outermost.store(word, std::memory_order_relaxed);
    cell.inside.store(word, std::memory_order_relaxed);
  }
  ~Inside() {
    cell_.inside.store(outer_, std::memory_order_relaxed);
    if (outer_ == 0) cell_.outermost.store(0, std::memory_order_relaxed);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  ThreadCell& cell_;
  std::uint64_t outer_;
};

}  // namespace tidegate::plugin
