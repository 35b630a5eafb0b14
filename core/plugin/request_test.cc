#include "plugin/request.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "plugin/learn_queue.h"
#include "plugin/test_support.h"

// Counts what this thread takes from the heap, by standing in for malloc() (operator new goes through it,
// plugins too). Sanitizers bring a malloc of their own, which stays: there the count is not looked at.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool counting = false;
constexpr std::size_t allocations = 0;
#else
constexpr bool counting = true;
namespace {
constinit thread_local std::size_t allocations = 0;
}
extern "C" void* __libc_malloc(std::size_t);
extern "C" void* __libc_calloc(std::size_t, std::size_t);
extern "C" void* malloc(std::size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
extern "C" void* calloc(std::size_t count, std::size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
#endif

namespace tidegate::plugin {
namespace {

TEST_CASE("request memory is zeroed and aligned, and bounded to 64 KiB in all") {
  tg_request request;
  for (const std::size_t align : {1, 8, 64, 4096}) {
    auto* memory = static_cast<char*>(request.allocate(100, align));
    REQUIRE(memory);
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % align == 0);
    CHECK(std::count(memory, memory + 100, '\0') == 100);
    std::fill(memory, memory + 100, 'x');
  }
  CHECK(request.allocate(8, 3) == nullptr);
  CHECK(request.allocate(arena_limit - 400, 8) != nullptr);
  CHECK(request.allocate(1, 1) == nullptr);
  tg_request whole;
  CHECK(whole.allocate(arena_limit, 8) != nullptr);
  CHECK(whole.allocate(1, 1) == nullptr);
}

TEST_CASE("picks, completions, request memory and remembering take nothing from the heap") {
  const testing::PluginDir dir;
  dir.install("parent");
  dir.install("first");
  testing::FakeEnvironment environment;
  const testing::ToyFleet fleet;
  Registry registry({.path = {dir.path()}}, &environment);
  const auto node = *PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "parent"), "r",
                                        R"({"first":"first","second":"first"})", environment, registry);
  const auto tables = node->build(fleet.snapshot());
  testing::PlanBuffer out;
  LearnQueue queue;
  const auto one_request = [&] {
    tg_request request;
    const tg_pick_args args = fleet.args(request);
    const PickStatus status = node->pick(request, tables.get(), args, fleet.sets(), out.plan);
    request.allocate(3000, 8);
    queue.push(this_thread().index, "record", 6);
    for (std::uint32_t i = 0; i < out.plan.leg_count; ++i)
      node->complete(request, out.legs[i].cookie, out.legs[i].ticket, tg_completion{});
    return status;
  };
  one_request();  // fills the thread's pool
  const std::size_t before = allocations;
  int selected = 0;
  for (int i = 0; i < 1000; ++i) selected += one_request() == PickStatus::select;
  const std::size_t after = allocations;
  CHECK(selected == 1000);
  if (counting) {  // the counter itself counts
    const std::string long_enough(1000, 'x');
    CHECK(allocations > after);
    CHECK(long_enough.size() == 1000);
  }
  CHECK(after - before == 0);
}

TEST_CASE("a full ring drops and counts; what was taken comes out whole and in order over the ring's end") {
  LearnQueue queue(std::size_t{1} << 17);
  std::string record(60'000, 'a');
  const std::uint32_t thread = this_thread().index;
  const auto push = [&](char c) {
    record.assign(record.size(), c);
    return queue.push(thread, record.data(), static_cast<std::uint32_t>(record.size()));
  };
  CHECK(push('a'));
  CHECK(push('b'));
  CHECK_FALSE(push('c'));
  CHECK(queue.dropped() == 1);
  std::string seen;
  const auto drain = [&] {
    return queue.drain([&](const tg_record* records, std::uint32_t count) {
      for (std::uint32_t i = 0; i < count; ++i) {
        const std::string_view data(static_cast<const char*>(records[i].data), records[i].len);
        CHECK(reinterpret_cast<std::uintptr_t>(records[i].data) % 8 == 0);
        CHECK(data.find_first_not_of(data[0]) == data.npos);
        seen += data[0];
      }
    });
  };
  CHECK(drain() == 2);
  for (const char c : {'d', 'e', 'f', 'g', 'h'}) {
    CHECK(push(c));
    CHECK(drain() == 1);
  }
  CHECK(seen == "abdefgh");
  CHECK_FALSE(queue.push(thread, record.data(), max_record + 1));
  CHECK(queue.push(thread, nullptr, 0));
  CHECK(queue.drain([](const tg_record* records, std::uint32_t count) {
    CHECK((count == 1 && records[0].len == 0));
  }) == 1);
}

TEST_CASE("one writer and one reader: every record arrives once, or is counted as dropped") {
  LearnQueue queue(std::size_t{1} << 17);
  constexpr std::uint32_t records = 200'000;
  std::thread writer([&] {
    const std::uint32_t thread = this_thread().index;
    for (std::uint32_t i = 0; i < records; ++i) queue.push(thread, &i, sizeof i);
  });
  std::uint64_t seen = 0;
  std::uint32_t last = 0;
  bool ascending = true;
  const auto drain = [&] {
    queue.drain([&](const tg_record* r, std::uint32_t count) {
      for (std::uint32_t i = 0; i < count; ++i, ++seen) {
        const std::uint32_t value = *static_cast<const std::uint32_t*>(r[i].data);
        ascending = ascending && (seen == 0 || value > last);
        last = value;
      }
    });
  };
  while (seen + queue.dropped() < records) drain();
  writer.join();
  CHECK(ascending);
  CHECK(seen + queue.dropped() == records);
}

}  // namespace
}  // namespace tidegate::plugin
