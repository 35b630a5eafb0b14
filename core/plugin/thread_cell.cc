#include "plugin/thread_cell.h"

#include <cstddef>
#include <mutex>

#include <unistd.h>

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
    cell->outermost.store(0, std::memory_order_relaxed);
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
  cell.kernel_id.store(::gettid(), std::memory_order_relaxed);
  place.cell = &cell;
  current_cell = &cell;
  return cell;
}

std::array<CellView, max_threads> cells_inside() noexcept {
  std::array<CellView, max_threads> views;
  for (std::size_t i = 0; i < max_threads; ++i)
    views[i] = {cells[i].inside.load(std::memory_order_relaxed),
                cells[i].outermost.load(std::memory_order_relaxed),
                cells[i].kernel_id.load(std::memory_order_relaxed)};
  return views;
}

const char* function_name(Function f) noexcept {
  switch (f) {
    case Function::none: break;
    case Function::load: return "load";
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
    case Function::post: return "post";
    case Function::timer: return "timer";
    case Function::pick: return "pick";
    case Function::complete: return "complete";
    case Function::transform: return "transform";
    case Function::score: return "score";
  }
  return "nothing";
}

}  // namespace tidegate::plugin
