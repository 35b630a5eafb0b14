#include <doctest/doctest.h>

#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::ScorerUnderTest;

namespace {
std::vector<float> scores_of(Fleet& fleet) {
  FakeHost host;
  return ScorerUnderTest(host, fleet, tg_plugin_v1(), "queue").score();
}
}  // namespace

TEST_CASE("the fewer requests are in flight, the higher the score") {
  Fleet fleet(3);
  fleet.load(0, 40).load(1, 10).load(2, 0);
  CHECK(scores_of(fleet) == std::vector<float>{0, 0.75f, 1});
}

TEST_CASE("an idle fleet has the highest score throughout") {
  Fleet fleet(2);
  CHECK(scores_of(fleet) == std::vector<float>{1, 1});
}

TEST_CASE("a small difference among many is a small difference of scores") {
  Fleet fleet(2);
  fleet.load(0, 1000).load(1, 999);
  auto scores = scores_of(fleet);
  CHECK(scores[1] > scores[0]);
  CHECK(scores[1] - scores[0] < 0.01f);
}
