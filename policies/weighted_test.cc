#include <doctest/doctest.h>

#include <map>
#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::PolicyUnderTest;

namespace {

constexpr auto two = R"({"scorers": [{"plugin": "a"}, {"plugin": "b", "weight": 3}]})";

// Scores of a scorer, by slot.
FakeHost::Score by_slot(const std::vector<float>& scores) {
  return [scores](const tg_pick_args& args, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = scores[args.candidates[i]];
    return TG_OK;
  };
}
FakeHost::Score broken() {
  return [](const tg_pick_args&, std::span<float>) { return TG_E_INTERNAL; };
}

std::map<uint32_t, int> picks_of(FakeHost& host, Fleet& fleet, int count) {
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "weighted");
  std::map<uint32_t, int> picks;
  for (int i = 0; i < count; ++i) {
    auto picked = policy.pick();
    ++picks[picked.slot()];
    policy.finish(picked);
  }
  return picks;
}

}  // namespace

TEST_CASE("the highest weighted sum wins") {
  Fleet fleet(3);
  FakeHost host(two);
  host.scorers["/scorers/0"] = by_slot({1, 0, 0.5f});     // sums: 1, 0.9, 1.1
  host.scorers["/scorers/1"] = by_slot({0, 0.3f, 0.2f});  // three times as much
  CHECK(picks_of(host, fleet, 10) == std::map<uint32_t, int>{{2, 10}});
}

TEST_CASE("ties are drawn at random among the best, and only among them") {
  Fleet fleet(4);
  FakeHost host(two);
  host.scorers["/scorers/0"] = by_slot({1, 0.2f, 1, 1});
  host.scorers["/scorers/1"] = by_slot({0.5f, 0.5f, 0.5f, 0.5f});
  auto picks = picks_of(host, fleet, 3000);
  CHECK(picks.count(1) == 0);
  for (uint32_t slot : {0u, 2u, 3u}) CHECK(std::abs(picks[slot] - 1000) < 150);
}

TEST_CASE("a scorer that has nothing to say is left out") {
  Fleet fleet(2);
  FakeHost host(two);
  host.scorers["/scorers/0"] = by_slot({0, 0.1f});
  host.scorers["/scorers/1"] = broken();
  CHECK(picks_of(host, fleet, 10) == std::map<uint32_t, int>{{1, 10}});
}

TEST_CASE("without a score the draw is over all candidates") {
  Fleet fleet(2);
  FakeHost host(R"({"scorers": [{"plugin": "a"}]})");
  host.scorers["/scorers/0"] = broken();
  auto picks = picks_of(host, fleet, 1000);
  for (uint32_t slot : {0u, 1u}) CHECK(std::abs(picks[slot] - 500) < 100);
}

TEST_CASE("more candidates than the request's memory has room for are drawn from, not refused") {
  Fleet fleet(9000, 9000);
  FakeHost host(R"({"scorers": [{"plugin": "a"}]})");
  host.scorers["/scorers/0"] = broken();
  PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "weighted");
  CHECK(policy.pick().selected());
}

TEST_CASE("a scorer that the host does not know is refused with its place") {
  Fleet fleet(1);
  FakeHost host(two);
  host.scorers["/scorers/0"] = by_slot({1});
  try {
    PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "weighted");
    FAIL("it was taken");
  } catch (const tg::Error& e) {
    CHECK(e.where() == "/scorers/1");
  }
}
