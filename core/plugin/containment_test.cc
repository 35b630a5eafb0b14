#include "plugin/containment.h"

#include <stdexcept>

#include <doctest/doctest.h>

#include "plugin/host.h"
#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

using testing::FakeEnvironment;

constexpr std::uint64_t ms = 1'000'000;

struct Fixture {
  FakeEnvironment environment;
  std::shared_ptr<Containment> containment = make({});

  std::shared_ptr<Containment> make(ContainmentLimits limits) {
    return Containment::create(environment, {"lib", "odd", "route1"}, true, limits);
  }
  void slip() { containment->slip(Slip::status, Function::pick, "failed"); }
  // So many timed calls that take so long; of the calls between them nobody knows.
  void timed_calls(int count, std::uint64_t ns, Function function = Function::pick) {
    for (int i = 0; i < count; ++i) {
      this_thread().until_sample = 1;
      containment->request_call(function, [&] { return environment.now_ns += ns, TG_OK; });
    }
  }
};

TEST_CASE_FIXTURE(Fixture, "slips in a row lead to quarantine") {
  for (int i = 0; i < 15; ++i) slip();
  CHECK_FALSE(containment->quarantined());
  slip();
  CHECK(containment->quarantine() == Quarantine::slips);
}

TEST_CASE_FIXTURE(Fixture, "a policy that fails half of its picks keeps at it") {
  for (int i = 0; i < 32; ++i) {
    CHECK_FALSE(containment->quarantined());
    slip();
    containment->went_well();
  }
  CHECK(containment->quarantine() == Quarantine::slips);
}

TEST_CASE_FIXTURE(Fixture, "a policy that fails one pick in eight does not, however long") {
  for (int i = 0; i < 1'000; ++i) {
    slip();
    for (int good = 0; good < 7; ++good) containment->went_well();
  }
  CHECK(containment->slips(Slip::status) == 1'000);
  CHECK_FALSE(containment->quarantined());
}

TEST_CASE_FIXTURE(Fixture,
                  "what goes wrong on the control thread is counted and costs the instance nothing") {
  for (int i = 0; i < 200; ++i)
    containment->control_call(Function::learn, []() -> tg_status { throw std::runtime_error("no"); });
  CHECK(containment->slips(Slip::exception) == 200);
  CHECK_FALSE(containment->quarantined());
}

TEST_CASE_FIXTURE(Fixture, "more than one timed call in a hundred over the budget: its p99 is over") {
  for (int i = 0; i < 11; ++i) {
    timed_calls(80, ms / 2);
    timed_calls(1, 2 * ms);
  }
  CHECK_FALSE(containment->quarantined());
  CHECK(containment->slips(Slip::over_budget) == 11);
  timed_calls(1, 2 * ms);
  CHECK(containment->quarantine() == Quarantine::budget);
}

TEST_CASE_FIXTURE(Fixture, "one timed call in a hundred over the budget is not, however long") {
  for (int i = 0; i < 300; ++i) {
    timed_calls(99, ms / 2);
    timed_calls(1, 2 * ms);
  }
  CHECK(containment->slips(Slip::over_budget) == 300);
  CHECK_FALSE(containment->quarantined());
}

TEST_CASE_FIXTURE(Fixture, "the budget is the environment's unless the limits name one") {
  environment.call_budget = 5 * ms;
  containment = make({});
  timed_calls(1, 4 * ms);
  CHECK(containment->slips(Slip::over_budget) == 0);
  timed_calls(1, 6 * ms);
  CHECK(containment->slips(Slip::over_budget) == 1);
  containment = make({.budget_ns = 10 * ms});
  timed_calls(1, 6 * ms);
  CHECK(containment->slips(Slip::over_budget) == 0);
}

TEST_CASE_FIXTURE(Fixture, "a transform's time goes with its body, so no budget holds for it") {
  timed_calls(100, 20 * ms, Function::transform);
  CHECK(containment->slips(Slip::over_budget) == 0);
}

struct Posted {
  Function seen_in = Function::none;
  bool throws = false;
  static void run(void* argument) {
    auto& self = *static_cast<Posted*>(argument);
    self.seen_in = inside_function(this_thread().inside.load(std::memory_order_relaxed));
    if (self.throws) throw std::runtime_error("out of a posted function");
  }
};

TEST_CASE_FIXTURE(Fixture, "posted and timed functions are seen by the watchdog; what they throw is a slip") {
  InstanceHost host(environment, {.component = "odd", .instance = "route1", .containment = containment});
  Posted posted;
  posted.throws = true;
  SUBCASE("posted") {
    REQUIRE(host.post(Posted::run, &posted));
    environment.run_posted();
    CHECK(posted.seen_in == Function::post);
    CHECK(environment.log_of("a plugin call went wrong").fields.at("function") == "post");
  }
  SUBCASE("timed") {
    host.start_timer(1, 0, Posted::run, &posted);
    const auto [task, argument] = environment.timers.begin()->second;
    task(argument);
    CHECK(posted.seen_in == Function::timer);
    CHECK(environment.log_of("a plugin call went wrong").fields.at("function") == "timer");
  }
  CHECK(containment->slips(Slip::exception) == 1);
  CHECK(environment.log_of("a plugin call went wrong").fields.at("detail") == "out of a posted function");
}

}  // namespace
}  // namespace tidegate::plugin
