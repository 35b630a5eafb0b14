#include <doctest/doctest.h>

#include <map>
#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::PolicyUnderTest;

namespace {
std::map<uint32_t, int> picks_of(Fleet& fleet, int count) {
  FakeHost host;
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "power_of_two");
  std::map<uint32_t, int> picks;
  for (int i = 0; i < count; ++i) {
    auto picked = policy.pick();
    ++picks[picked.slot()];
    policy.finish(picked);
  }
  return picks;
}
}  // namespace

TEST_CASE("of two workers the one with fewer requests is always picked") {
  Fleet fleet(2);
  fleet.load(0, 6, 10).load(1, 5, 90000);
  CHECK(picks_of(fleet, 100) == std::map<uint32_t, int>{{1, 100}});
}

TEST_CASE("it says why when somebody listens, and nothing when nobody does") {
  FakeHost host;
  Fleet fleet(2);
  fleet.load(0, 6, 10).load(1, 5, 10);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "power_of_two");
  auto silent = policy.pick();
  CHECK(silent.reason == "");
  policy.finish(silent);
  auto told = policy.pick({.explain = true});
  CHECK(told.reason == "the less loaded of two drawn: 5 requests in flight, the other 6");
  policy.finish(told);
}

TEST_CASE("with as many requests, the one with fewer prompt tokens is picked") {
  Fleet fleet(2);
  fleet.load(0, 5, 4000).load(1, 5, 3999);
  CHECK(picks_of(fleet, 100) == std::map<uint32_t, int>{{1, 100}});
}

TEST_CASE("the most loaded worker is never picked: the two drawn are distinct") {
  Fleet fleet(8);
  fleet.load(3, 120);
  CHECK(picks_of(fleet, 2000).count(3) == 0);
}

TEST_CASE("an idle fleet shares the requests evenly") {
  Fleet fleet(8);
  auto picks = picks_of(fleet, 8000);
  for (uint32_t slot = 0; slot < 8; ++slot) CHECK(std::abs(picks[slot] - 1000) < 150);
}

TEST_CASE("every pair is drawn: each worker but the most loaded gets requests") {
  Fleet fleet(5);
  for (uint32_t slot = 0; slot < 5; ++slot) fleet.load(slot, slot);
  auto picks = picks_of(fleet, 10000);
  // of 10 pairs, slot s is the lighter one in 4 - s
  for (uint32_t slot = 0; slot < 5; ++slot)
    CHECK(std::abs(picks[slot] - 1000 * (4 - static_cast<int>(slot))) < 200);
}

TEST_CASE("a single candidate is picked") {
  Fleet fleet(1);
  CHECK(picks_of(fleet, 3) == std::map<uint32_t, int>{{0, 3}});
}

TEST_CASE("a day of traffic is spread evenly and waits little") {
  FakeHost host;
  Fleet fleet(8);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "power_of_two");
  auto day = tg::testing::simulate(policy);
  CHECK(day.refused == 0);
  CHECK(day.spread < 1.1);
  CHECK(day.p99_ttft_ms < 1500);
}
