#include <doctest/doctest.h>

#include <map>
#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::PolicyUnderTest;
using tg::testing::RequestSpec;

TEST_CASE("candidates take turns in order") {
  FakeHost host;
  Fleet fleet(4);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "round_robin");
  uint32_t last = policy.pick().slot();
  for (int i = 0; i < 100; ++i) {
    uint32_t next = policy.pick().slot();
    CHECK(next == (last + 1) % 4);
    last = next;
  }
}

TEST_CASE("the first turn is anywhere, so that many gateways do not all begin with the first worker") {
  std::map<uint32_t, int> first;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    FakeHost host("{}", seed);
    Fleet fleet(4);
    PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "round_robin");
    ++first[policy.pick().slot()];
  }
  CHECK(first.size() == 4);
}

TEST_CASE("traffic that alternates between two models reaches every worker of each") {
  FakeHost host;
  Fleet fleet(4);
  for (uint32_t slot : {2, 3}) fleet.change(slot, [](auto& w) { w.model = "other"; });
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "round_robin");
  std::map<uint32_t, int> picks;
  for (int i = 0; i < 100; ++i) {
    ++picks[policy.pick().slot()];
    ++picks[policy.pick(RequestSpec{.model = "other"}).slot()];
  }
  CHECK(picks == std::map<uint32_t, int>{{0, 50}, {1, 50}, {2, 50}, {3, 50}});
}

TEST_CASE("a fleet in motion does not favour one of its workers") {
  FakeHost host;
  Fleet fleet(4);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "round_robin");
  std::map<uint32_t, int> picks;
  tg::Host dice(host.get());
  auto some_picks = [&] {
    for (uint32_t left = 1 + dice.random_below(6); left > 0; --left) ++picks[policy.pick().slot()];
  };
  for (int i = 0; i < 1000; ++i) {
    uint32_t guest = fleet.add();
    some_picks();
    fleet.remove(guest);
    some_picks();
  }
  int mean = (picks[0] + picks[1] + picks[2] + picks[3]) / 4;
  for (uint32_t slot = 0; slot < 4; ++slot) CHECK(std::abs(picks[slot] - mean) < mean / 10);
}

TEST_CASE("without candidates the request waits") {
  FakeHost host;
  Fleet fleet(1);
  fleet.state(0, TG_WORKER_UNHEALTHY);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "round_robin");
  CHECK(policy.pick().plan.verdict == TG_PICK_WAIT);
}
