#include "telemetry/line_ring.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tidegate::telemetry {
namespace {

bool put(LineRing& ring, std::string_view text) {
  LineRing::Slot* slot = ring.claim();
  if (slot == nullptr) return false;
  std::memcpy(slot->text, text.data(), text.size());
  slot->length = static_cast<uint32_t>(text.size());
  ring.publish(slot);
  return true;
}

std::string take(LineRing& ring) {
  const LineRing::Slot* slot = ring.peek(0);
  if (slot == nullptr) return "(none)";
  std::string text(slot->text, slot->length);
  ring.release(1);
  return text;
}

TEST_CASE("lines come out in the order in which they were claimed") {
  LineRing ring(4, 16);
  put(ring, "one");
  put(ring, "two");
  CHECK(take(ring) == "one");
  CHECK(take(ring) == "two");
  CHECK(take(ring) == "(none)");
}

TEST_CASE("a full ring drops new lines, counts them, and takes lines again once there is room") {
  LineRing ring(2, 16);
  CHECK(put(ring, "a"));
  CHECK(put(ring, "b"));
  CHECK_FALSE(put(ring, "c"));
  CHECK_FALSE(put(ring, "d"));
  CHECK(ring.dropped() == 2);
  CHECK(take(ring) == "a");
  CHECK(put(ring, "e"));
  CHECK(take(ring) == "b");
  CHECK(take(ring) == "e");
}

TEST_CASE("a line that is claimed and not yet published holds back those behind it") {
  LineRing ring(4, 16);
  LineRing::Slot* slow = ring.claim();
  slow->length = 0;
  put(ring, "later");
  CHECK(ring.peek(0) == nullptr);
  ring.publish(slow);
  CHECK(take(ring).empty());
  CHECK(take(ring) == "later");
}

TEST_CASE("a ring's size must be a power of two") { CHECK_THROWS_AS(LineRing(3, 16), std::invalid_argument); }

TEST_CASE("the writer sleeps until a line or a stop, and misses neither") {
  LineRing ring(64, 16);
  constexpr int lines = 20000;
  int got = 0;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (;; ring.wait()) {
      const bool stopping = stop.load();
      for (; ring.peek(0) != nullptr; ++got) ring.release(1);
      if (stopping) return;
    }
  });
  for (int i = 0; i < lines;) i += put(ring, "x");
  stop = true;
  ring.stop_waiting();
  writer.join();
  CHECK(got == lines);
}

TEST_CASE("many producers: each line arrives whole and once, or is counted as dropped") {
  LineRing ring(32, 32);
  constexpr int producers = 3, lines = 8000;
  std::vector<std::vector<int>> seen(producers, std::vector<int>(lines));
  int received = 0, finished = 0;
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int p = 0; p < producers; ++p) {
    threads.emplace_back([&, p] {
      for (int i = 0; i < lines; ++i) put(ring, std::to_string(p) + ":" + std::to_string(i));
      ++done;
    });
  }
  bool in_order = true;
  std::vector<int> last(producers, -1);
  do {
    finished = done.load();
    while (ring.peek(0) != nullptr) {
      const std::string line = take(ring);
      const int p = line[0] - '0', i = std::stoi(line.substr(2));
      ++seen[static_cast<size_t>(p)][static_cast<size_t>(i)];
      in_order = in_order && i > last[static_cast<size_t>(p)];
      last[static_cast<size_t>(p)] = i;
      ++received;
    }
  } while (finished < producers);
  for (auto& thread : threads) thread.join();
  CHECK(in_order);
  CHECK(static_cast<uint64_t>(received) + ring.dropped() == producers * lines);
}

}  // namespace
}  // namespace tidegate::telemetry
