// tidegate/testing.hpp - the testing kit: plugins run without a gateway. Needs nothing beyond the SDK; any
// test framework.
//
//   tg::testing::FakeHost host(R"({"choices": 2})");
//   tg::testing::Fleet fleet(8);
//   fleet.load(3, 120).state(5, TG_WORKER_DRAINING);
//   tg::testing::PolicyUnderTest policy(host, fleet, tg_plugin_v1(), "least_tokens");
//   auto picked = policy.pick();            // throws Breach when the policy breaks the contract
//   CHECK(picked.slot() != 3);
//   policy.finish(picked);
//   auto day = tg::testing::simulate(policy);
//   CHECK(day.p99_ttft_ms < 2000);
//
// What      FakeHost (all services of host.h but http), Fleet (slots, generations, live records),
// PolicyUnderTest (contract
//           checks), ScorerUnderTest, DiscoveryUnderTest, simulate() (a day of traffic in virtual time).
//           testing/allocations.hpp, in one source of the program, makes allocations in hot calls a breach.
// Threads   One: the kit is every thread of the contract at once.
// Ownership Host and fleet outlive what runs on them.
// Errors    tg::Error for refusals, tg::testing::Breach for broken contracts.
#pragma once
#include "plugin.hpp"
#include "testing/discovery_under_test.hpp"
#include "testing/scorer_under_test.hpp"
#include "testing/traffic.hpp"
