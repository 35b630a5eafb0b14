#include "plugin/thread_cell.h"

#include <cstddef>
#include <mutex>

namespace tidegate::plugin {
namespace {

// Constant-initialised and trivially destroyed: threads may come before main() and go after it.
constinit std::array<ThreadCell, max_threads> cells{};
constinit std::array<bool, max_threads> taken{};
constinit std::mutex cells_mutex;

struct Place {
  ThreadCell* cell = nullptr;
  ~Place() {
    if (!cell || cell->index == max_threads - 1) return;
    const std::scoped_lock lock(cells_mutex);
    cell->inside.store(0, std::memory_order_relaxed);
    taken[cell->index] = false;
    current_cell = nullptr;
  }
};

}  // namespace

constinit thread_local ThreadCell* current_cell = nullptr;

ThreadCell& register_thread() noexcept {
  thread_local Place place;
  // The last place is for all threads beyond: they would overwrite each other's marks, so it is not shown.
  thread_local ThreadCell unwatched;
  const std::scoped_lock lock(cells_mutex);
  std::uint32_t index = 0;
  while (index < max_threads - 1 && taken[index]) ++index;
  ThreadCell& cell = index == max_threads - 1 ? unwatched : cells[index];
  taken[index] = true;
  cell.index = index;
  place.cell = &cell;
  current_cell = &cell;
  return cell;
}

std::array<std::uint64_t, max_threads> cells_inside() noexcept {
  std::array<std::uint64_t, max_threads> words;
  for (std::size_t i = 0; i < max_threads; ++i) words[i] = cells[i].inside.load(std::memory_order_relaxed);
  return words;
}

const char* function_name(Function f) noexcept {
  switch (f) {
    case Function::none: break;
    case Function::init: return "init";
    case Function::create: return "create";
    case Function::destroy: return "destroy";
    case Function::adopt: return "adopt";
    case Function::export_state: return "export_state";
    case Function::import_state: return "import_state";
    case Function::build: return "build";
    case Function::release: return "release";
    case Function::learn: return "learn";
    case Function::describe: return "describe";
    case Function::pick: return "pick";
    case Function::complete: return "complete";
    case Function::transform: return "transform";
    case Function::score: return "score";
  }
  return "nothing";
}

}  // namespace tidegate::plugin
