#include "http/timer_wheel.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <doctest/doctest.h>

namespace tidegate::http {
namespace {

struct Probe {
  explicit Probe(std::vector<std::uint64_t>* log, TimerWheel* wheel) : log(log), wheel(wheel) {}
  void fired() noexcept { log->push_back(timer.expiry()), seen_at = wheel->now(); }
  std::vector<std::uint64_t>* log;
  TimerWheel* wheel;
  std::uint64_t seen_at = 0;
  Timer timer{Timer::of<&Probe::fired>, this};
};

TEST_CASE("timers fire in the order of expiry, each at its own millisecond, on every level of the wheel") {
  TimerWheel wheel(1'000'003);
  std::vector<std::uint64_t> log;
  std::vector<std::unique_ptr<Probe>> probes;
  std::vector<std::uint64_t> expected;
  std::mt19937_64 random(7);
  for (int i = 0; i < 3000; ++i) {
    probes.push_back(std::make_unique<Probe>(&log, &wheel));
    const std::uint64_t delay = 1 + random() % (std::uint64_t{1} << (1 + random() % 30));
    expected.push_back(wheel.now() + delay);
    wheel.arm(probes.back()->timer, expected.back());
  }
  const auto sorted = [&] {
    auto copy = expected;
    std::sort(copy.begin(), copy.end());
    return copy;
  }();
  while (wheel.armed() != 0) {
    const std::uint64_t next = wheel.next_expiry();
    REQUIRE(next > wheel.now());
    REQUIRE(next <= sorted[log.size()]);  // never sleeps through an expiry
    wheel.advance(next);
  }
  CHECK(log == sorted);
  for (const auto& probe : probes) CHECK(probe->seen_at == probe->timer.expiry());
}

TEST_CASE("one long step fires what is due in order and keeps the rest") {
  TimerWheel wheel(0);
  std::vector<std::uint64_t> log;
  Probe late(&log, &wheel), early(&log, &wheel), rest(&log, &wheel);
  wheel.arm(late.timer, 90'000);
  wheel.arm(early.timer, 3);
  wheel.arm(rest.timer, 100'001);
  wheel.advance(100'000);
  CHECK(log == std::vector<std::uint64_t>{3, 90'000});
  CHECK(rest.timer.armed());
  CHECK(wheel.now() == 100'000);
}

TEST_CASE("a time that is past fires with the next step") {
  TimerWheel wheel(500);
  std::vector<std::uint64_t> log;
  Probe probe(&log, &wheel);
  wheel.arm(probe.timer, 3);
  wheel.advance(501);
  CHECK(log.size() == 1);
}

TEST_CASE("disarmed and re-armed timers") {
  TimerWheel wheel(0);
  std::vector<std::uint64_t> log;
  Probe gone(&log, &wheel), moved(&log, &wheel);
  wheel.arm(gone.timer, 10);
  wheel.arm(moved.timer, 10);
  wheel.arm(moved.timer, 20);
  gone.timer.disarm();
  CHECK(wheel.armed() == 1);
  wheel.advance(15);
  CHECK(log.empty());
  wheel.advance(20);
  CHECK(log == std::vector<std::uint64_t>{20});
  CHECK(wheel.next_expiry() == TimerWheel::never);
}

TEST_CASE("a timer dies with its owner, also in the callback of another one due at the same time") {
  struct Killer {
    void fired() noexcept { victim.reset(); }
    std::unique_ptr<Probe> victim;
    Timer timer{Timer::of<&Killer::fired>, this};
  };
  TimerWheel wheel(0);
  std::vector<std::uint64_t> log;
  Killer killer;
  killer.victim = std::make_unique<Probe>(&log, &wheel);
  wheel.arm(killer.timer, 5);
  wheel.arm(killer.victim->timer, 5);
  wheel.advance(5);
  CHECK(log.empty());
  CHECK(wheel.armed() == 0);
}

TEST_CASE("a timer that re-arms itself in its callback fires once a period") {
  struct Ticker {
    void fired() noexcept { ++count, wheel->arm(timer, wheel->now() + 10); }
    TimerWheel* wheel;
    int count = 0;
    Timer timer{Timer::of<&Ticker::fired>, this};
  };
  TimerWheel wheel(0);
  Ticker ticker{&wheel};
  wheel.arm(ticker.timer, 10);
  wheel.advance(100);
  CHECK(ticker.count == 10);
}

}  // namespace
}  // namespace tidegate::http
