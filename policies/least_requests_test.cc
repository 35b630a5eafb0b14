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
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "least_requests");
  std::map<uint32_t, int> picks;
  for (int i = 0; i < count; ++i) {
    auto picked = policy.pick();
    ++picks[picked.slot()];
    policy.finish(picked);
  }
  return picks;
}
}  // namespace

TEST_CASE("the worker with the fewest requests is picked, wherever it stands") {
  for (uint32_t idle = 0; idle < 6; ++idle) {
    Fleet fleet(6);
    for (uint32_t slot = 0; slot < 6; ++slot) fleet.load(slot, slot == idle ? 1 : 2 + slot);
    CHECK(picks_of(fleet, 20) == std::map<uint32_t, int>{{idle, 20}});
  }
}

TEST_CASE("workers that tie share the requests evenly") {
  Fleet fleet(5);
  fleet.load(2, 1);
  auto picks = picks_of(fleet, 4000);
  CHECK(picks.count(2) == 0);
  for (uint32_t slot : {0, 1, 3, 4}) CHECK(std::abs(picks[slot] - 1000) < 130);
}

TEST_CASE("a worker of twice the weight holds twice the requests") {
  Fleet fleet(2);
  fleet.weight(0, 2000).load(0, 19).load(1, 10);
  CHECK(picks_of(fleet, 20) == std::map<uint32_t, int>{{0, 20}});
  fleet.load(0, 21);
  CHECK(picks_of(fleet, 20) == std::map<uint32_t, int>{{1, 20}});
}

TEST_CASE("workers that tie share by weight") {
  Fleet fleet(3);
  fleet.weight(1, 2000);
  auto picks = picks_of(fleet, 4000);
  CHECK(std::abs(picks[1] - 2000) < 200);
  CHECK(std::abs(picks[0] - 1000) < 150);
}

TEST_CASE("requests in flight fill the fleet level") {
  FakeHost host;
  Fleet fleet(4);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "least_requests");
  for (int i = 0; i < 40; ++i) policy.pick();
  for (uint32_t slot = 0; slot < 4; ++slot) CHECK(fleet.live(slot).inflight == 10);
}

TEST_CASE("a worker that joins is known at once") {
  FakeHost host;
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "least_requests");
  fleet.load(0, 5).load(1, 5);
  policy.pick();
  uint32_t guest = fleet.add();
  CHECK(policy.pick().slot() == guest);
}

TEST_CASE("without candidates the request waits") {
  FakeHost host;
  Fleet fleet(0);
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "least_requests");
  CHECK(policy.pick().plan.verdict == TG_PICK_WAIT);
}
