// The policy without a gateway; any test framework will do, here none.
#include <cstdio>
#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

int main() {
  tg::testing::FakeHost host;
  tg::testing::Fleet fleet(8);
  for (uint32_t slot = 0; slot < 8; ++slot) fleet.load(slot, 1, slot == 5 ? 100 : 120);
  tg::testing::PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "least_tokens");
  uint32_t slot = policy.pick().slot();  // throws when the policy breaks the contract
  auto day = tg::testing::simulate(policy);
  std::printf("picked worker %u; a day of traffic: mean TTFT %.0f ms, p99 %.0f ms\n", slot, day.mean_ttft_ms,
              day.p99_ttft_ms);
  return slot == 5 && day.refused == 0 ? 0 : 1;
}
