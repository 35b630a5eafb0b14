#include "telemetry/cells.h"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace tidegate::telemetry {
namespace {

struct Reserved {
  explicit Reserved(uint32_t n) : first(Cells::reserve(n)), count(n) {}
  ~Reserved() { Cells::release(first, count); }
  CellIndex first;
  uint32_t count;
};

TEST_CASE("a counter's value is the sum of what all threads added, exactly") {
  const Reserved cell(1);
  const Counter counter(cell.first);
  constexpr int threads = 4, adds = 50000;
  std::atomic<bool> stop{false};
  double last = 0;
  bool grew_only = true;
  std::thread collector([&] {
    while (!stop.load()) {
      const double now = counter.value();
      grew_only = grew_only && now >= last;
      last = now;
    }
  });
  std::vector<std::thread> writers;
  for (int i = 0; i < threads; ++i) {
    writers.emplace_back([&] {
      for (int n = 0; n < adds; ++n) counter.add();
    });
  }
  for (auto& writer : writers) writer.join();
  stop = true;
  collector.join();
  CHECK(counter.value() == threads * adds);
  CHECK(grew_only);
}

TEST_CASE("cells reserved while threads count are there for those threads") {
  std::atomic<CellIndex> next{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> added{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&] {
      Cells::attach_thread();
      while (!stop.load(std::memory_order_acquire)) {
        Counter(next.load(std::memory_order_acquire)).add();
        added.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  std::vector<CellIndex> taken;
  for (int i = 0; i < 3 * static_cast<int>(chunk_cells) / 100; ++i) {  // three chunks
    taken.push_back(Cells::reserve(100));
    next.store(taken.back(), std::memory_order_release);
  }
  while (Cells::sum(taken.back()) == 0) std::this_thread::yield();
  stop.store(true, std::memory_order_release);
  for (auto& writer : writers) writer.join();
  double counted = 0;
  for (const CellIndex first : taken) {
    CHECK((first & (chunk_cells - 1)) + 100 <= chunk_cells);  // in one chunk
    counted += Cells::sum(first);
    Cells::release(first, 100);
  }
  CHECK(counted <= static_cast<double>(added.load()));
}

TEST_CASE("what a thread counted stays when the thread ends, and its block serves the next thread") {
  const Reserved cell(1);
  const Counter counter(cell.first);
  for (int i = 0; i < 10; ++i) std::thread([&] { counter.add(2); }).join();
  CHECK(counter.value() == 20);
}

TEST_CASE("released cells are used again and begin at 0") {
  CellIndex first = 0;
  {
    const Reserved cell(7);
    first = cell.first;
    Counter(first + 3).add(5);
    std::thread([&] { Counter(first + 3).add(6); }).join();
    CHECK(Cells::sum(first + 3) == 11);
  }
  const Reserved again(7);
  CHECK(again.first == first);
  CHECK(Cells::sum(first + 3) == 0);
}

TEST_CASE("cells in use are counted") {
  const uint64_t before = Cells::in_use();
  {
    const Reserved cell(9);
    CHECK(Cells::in_use() == before + 9);
  }
  CHECK(Cells::in_use() == before);
}

TEST_CASE("a handle that was never given counts into nothing") {
  const double before = Cells::sum(0);
  Counter().add();
  UpDown().sub();
  Gauge().set(7);
  Histogram().observe(1);
  CHECK(Cells::sum(0) == before);
}

TEST_CASE("more cells than a chunk holds are refused with cell 0") {
  CHECK(Cells::reserve(chunk_cells + 1) == 0);
}

TEST_CASE("what goes up on one thread may come down on another") {
  const Reserved cell(1);
  const UpDown open(cell.first);
  std::thread([&] { open.add(3); }).join();
  open.sub(2);
  CHECK(open.value() == 1);
}

TEST_CASE("a gauge holds what was set last, by whatever thread") {
  const Reserved cell(1);
  const Gauge gauge(cell.first);
  gauge.set(3);
  std::thread([&] { gauge.set(8); }).join();
  gauge.add(-1);
  CHECK(gauge.value() == 7);
}

TEST_CASE("a histogram counts a value in the first bucket whose bound is not below it") {
  const double upper[] = {1, 2, 4};
  const Bounds& bounds = Cells::intern(upper);
  const Reserved cells(Histogram::cells(bounds));
  const Histogram histogram(cells.first, bounds);
  for (const double value : {0.5, 1.0, 1.5, 4.0, 100.0}) histogram.observe(value);
  CHECK(Cells::sum(cells.first + 0) == 2);
  CHECK(Cells::sum(cells.first + 1) == 1);
  CHECK(Cells::sum(cells.first + 2) == 1);
  CHECK(Cells::sum(cells.first + 3) == 1);
  CHECK(Cells::sum(cells.first + 4) == 107);
}

TEST_CASE("equal bounds are one object; bad ones are refused") {
  const double upper[] = {1, 2, 4.5};
  CHECK(&Cells::intern(upper) == &Cells::intern(std::vector<double>{1, 2, 4.5}));
  CHECK(&Cells::bounds(Cells::intern(upper).id) == &Cells::intern(upper));
  CHECK_THROWS_AS(Cells::intern(std::vector<double>{}), std::invalid_argument);
  CHECK_THROWS_AS(Cells::intern(std::vector<double>{1, 1}), std::invalid_argument);
  CHECK_THROWS_AS(Cells::intern(std::vector<double>(max_histogram_bounds + 1, 1)), std::invalid_argument);
}

}  // namespace
}  // namespace tidegate::telemetry
