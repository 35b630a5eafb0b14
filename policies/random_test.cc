#include <doctest/doctest.h>

#include <map>
#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::PolicyUnderTest;

TEST_CASE("every candidate is picked about as often as the others") {
  FakeHost host;
  Fleet fleet(5);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "random");
  std::map<uint32_t, int> picks;
  for (int i = 0; i < 5000; ++i) ++picks[policy.pick().slot()];
  CHECK(picks.size() == 5);
  for (auto& [slot, count] : picks) CHECK(std::abs(count - 1000) < 150);
}

TEST_CASE("load does not matter") {
  FakeHost host;
  Fleet fleet(2);
  fleet.load(0, 100000);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "random");
  int loaded = 0;
  for (int i = 0; i < 1000; ++i) loaded += policy.pick().slot() == 0;
  CHECK(loaded > 400);
}

TEST_CASE("without candidates the request waits") {
  FakeHost host;
  Fleet fleet(0);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "random");
  CHECK(policy.pick().plan.verdict == TG_PICK_WAIT);
}

TEST_CASE("it works on a host without a clock and without random numbers") {
  FakeHost host;
  host.withhold(TG_HOST_CLOCK);
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "random");
  std::map<uint32_t, int> picks;
  for (int i = 0; i < 100; ++i) ++picks[policy.pick().slot()];
  CHECK(picks.size() == 2);
}
