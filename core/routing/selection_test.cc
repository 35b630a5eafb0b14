#include "routing/selection.h"

#include <algorithm>
#include <functional>
#include <vector>

#include <doctest/doctest.h>

#include "plugin/test_support.h"

namespace tidegate::routing {
namespace {

using plugin::Component;
using plugin::PolicyNode;
using plugin::testing::FakeEnvironment;
using plugin::testing::PluginDir;

// A policy whose functions are the test's own.
struct Script {
  std::uint32_t roles = 0;
  std::function<tg_status(const tg_pick_args*, tg_plan*)> pick;
  std::vector<tg_completion> completions;
};
Script* script = nullptr;  // create() takes it as its instance's

std::vector<std::uint32_t> offered(const tg_slots& slots) { return {slots.slots, slots.slots + slots.count}; }

struct Fixture {
  PluginDir dir;
  FakeEnvironment environment;
  std::string path = dir.install("first");
  plugin::Registry registry{{.path = {dir.path()}}, &environment};
  Component component = make_component();
  std::shared_ptr<fleet::SlotTable> slots = std::make_shared<fleet::SlotTable>();
  Selector selector;
  Script own, reserve;
  std::vector<std::vector<std::uint32_t>> offers;  // candidates of each pick of the route's policy
  std::vector<fleet::WorkerPtr> workers;
  ViewPtr view;
  tg_request request;

  Fixture() {
    own.pick = [](const tg_pick_args* args, tg_plan* plan) {
      return tg_plan_select(plan, args->candidates[0]), TG_OK;
    };
    reserve.pick = own.pick;
  }

  Component make_component() {
    registry.find(TG_POLICY_INTERFACE, "first");
    Component c;
    c.library = *plugin::Library::open(path, {});
    c.name = "scripted";
    c.interface_id = TG_POLICY_INTERFACE;
    c.flags = TG_CONCURRENT;
    c.policy.size = sizeof c.policy;
    c.policy.create = [](const tg_host*, tg_str, tg_policy_traits* traits, void** self,
                         tg_error*) -> tg_status {
      *self = script;
      traits->roles = script->roles;
      return TG_OK;
    };
    c.policy.destroy = [](void*) {};
    c.policy.pick = [](void* self, const void*, const tg_pick_args* args, tg_plan* plan) {
      return static_cast<Script*>(self)->pick(args, plan);
    };
    c.policy.complete = [](void* self, const tg_completion* completion) {
      static_cast<Script*>(self)->completions.push_back(*completion);
    };
    return c;
  }

  std::shared_ptr<PolicyNode> node(Script& of, const char* name) {
    script = &of;
    auto made = PolicyNode::create(component, name, "{}", environment, registry);
    REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
    return *made;
  }

  // A ready worker of each role, in slots 0, 1, ...
  void fleet_of(const std::vector<std::uint32_t>& roles) {
    for (std::uint32_t role : roles) {
      fleet::WorkerSpec spec;
      spec.source = "test";
      spec.id = "worker-" + std::to_string(workers.size());
      spec.url = "http://127.0.0.1:1";
      spec.role = role;
      workers.push_back(
          std::make_shared<const fleet::Worker>(slots, *slots->acquire(), spec, fleet::Endpoint{}, nullptr));
      fleet::live_set(workers.back()->live().state, TG_WORKER_READY);
    }
    auto graph = std::make_shared<RouteGraph>();
    Route route;
    route.policy = node(own, "route");
    route.fallback = node(reserve, "route/fallback");
    graph->routes.push_back(std::move(route));
    auto members = fleet::Membership::make(1, workers, *slots);
    std::shared_ptr<const tg_snapshot> snapshot(members, &members->snapshot());
    std::vector<View::Tables> tables;
    tables.push_back({graph->routes[0].policy->build(snapshot), graph->routes[0].fallback->build(snapshot)});
    view = std::make_shared<View>(graph, members, std::move(tables));
  }

  Choice choose(const std::vector<std::uint32_t>& tried = {}) {
    tg_pick_args args{};
    args.request_id = 7;
    return selector.choose(*view, view->find("any", "/"), request, args, tried);
  }
  bool others_left(const std::vector<std::uint32_t>& tried, std::uint32_t failed) {
    return Selector::others_left(*view, view->find("any", "/"), tried, failed);
  }
  void set_state(std::uint32_t slot, std::uint32_t state) {
    fleet::live_set(workers[slot]->live().state, state);
  }
  // Takes the first candidate, and notes what it was offered.
  void note_offers() {
    own.pick = [this](const tg_pick_args* args, tg_plan* plan) {
      offers.push_back({args->candidates, args->candidates + args->candidate_count});
      return tg_plan_select(plan, args->candidates[0]), TG_OK;
    };
  }
};

TEST_CASE_FIXTURE(Fixture, "a worker that is not ready any more is picked once, and not offered again") {
  note_offers();
  fleet_of({TG_ROLE_ANY, TG_ROLE_ANY, TG_ROLE_ANY});
  set_state(0, TG_WORKER_DRAINING);
  const Choice choice = choose();
  REQUIRE(choice.kind == Choice::Kind::select);
  CHECK(choice.plan->legs[0].slot == 1);
  CHECK_FALSE(choice.fallback);
  CHECK(offers == std::vector<std::vector<std::uint32_t>>{{0, 1, 2}, {1, 2}});
}

TEST_CASE_FIXTURE(Fixture, "each leg of a plan that is not handed out is completed as never sent, once") {
  own.pick = [](const tg_pick_args* args, tg_plan* plan) {
    tg_plan_add(plan, args->candidates[0])->cookie = 11;
    tg_leg* second = tg_plan_add(plan, args->candidates[0]);
    second->cookie = 12;
    second->response = TG_RESPONSE_DRAIN;
    return TG_OK;
  };
  fleet_of({TG_ROLE_ANY, TG_ROLE_ANY});
  set_state(0, TG_WORKER_UNHEALTHY);
  CHECK(choose().kind == Choice::Kind::select);
  REQUIRE(own.completions.size() == 2);
  for (std::uint32_t leg = 0; leg < 2; ++leg) {
    const tg_completion& c = own.completions[leg];
    CHECK(c.leg == leg);
    CHECK(c.cookie == 11 + leg);
    CHECK(c.slot == 0);
    CHECK(c.outcome == TG_OUTCOME_NEVER_SENT);
    CHECK(c.request_id == 7);
  }
  CHECK(request.open_legs() == 2);  // those of the plan that was handed out
}

TEST_CASE_FIXTURE(Fixture, "those that were tried are not offered") {
  note_offers();
  fleet_of({TG_ROLE_ANY, TG_ROLE_ANY, TG_ROLE_ANY});
  CHECK(choose({0, 2}).plan->legs[0].slot == 1);
  CHECK(offers == std::vector<std::vector<std::uint32_t>>{{1}});
  CHECK(choose({0, 1, 2}).kind == Choice::Kind::no_candidates);
  CHECK(offers.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "when nobody is ready any more there is nobody to choose, and nothing is owed") {
  fleet_of({TG_ROLE_ANY, TG_ROLE_ANY});
  set_state(0, TG_WORKER_GONE);
  set_state(1, TG_WORKER_GONE);
  CHECK(choose().kind == Choice::Kind::no_candidates);
  CHECK(request.open_legs() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a slot that has another worker since the snapshot is not taken for the old one") {
  std::uint32_t generation = 0, picks = 0;
  own.pick = [&](const tg_pick_args* args, tg_plan* plan) {
    ++picks;
    return tg_plan_select(plan, args->candidates[0])->generation = generation, TG_OK;
  };
  fleet_of({TG_ROLE_ANY});
  generation = workers[0]->generation();
  CHECK(choose().kind == Choice::Kind::select);
  fleet::live_set(workers[0]->live().generation, generation + 1);
  CHECK(choose().kind == Choice::Kind::no_candidates);
  CHECK(own.completions.size() == picks - 1);
}

TEST_CASE_FIXTURE(Fixture, "a policy that slips costs the request this policy") {
  own.pick = [](const tg_pick_args*, tg_plan*) { return TG_E_INTERNAL; };
  fleet_of({TG_ROLE_ANY});
  const Choice choice = choose();
  CHECK(choice.kind == Choice::Kind::select);
  CHECK(choice.fallback);
  CHECK(choice.policy == view->graph()->routes[0].fallback.get());
  reserve.pick = own.pick;
  CHECK(choose().kind == Choice::Kind::fail);
}

TEST_CASE_FIXTURE(Fixture, "a policy of two roles gets a list of each, and is not asked while one is empty") {
  own.roles = TG_ROLE_BIT(TG_ROLE_PREFILL) | TG_ROLE_BIT(TG_ROLE_DECODE);
  std::vector<std::vector<std::uint32_t>> seen;
  own.pick = [&](const tg_pick_args* args, tg_plan* plan) {
    CHECK(args->stage == TG_ROLE_PREFILL);
    seen = {offered(args->by_role[TG_ROLE_PREFILL]), offered(args->by_role[TG_ROLE_DECODE])};
    tg_plan_add(plan, args->by_role[TG_ROLE_PREFILL].slots[0])->response = TG_RESPONSE_DRAIN;
    tg_plan_add(plan, args->by_role[TG_ROLE_DECODE].slots[0]);
    return TG_OK;
  };
  fleet_of({TG_ROLE_PREFILL, TG_ROLE_DECODE, TG_ROLE_ANY, TG_ROLE_PREFILL});
  CHECK(choose().kind == Choice::Kind::select);
  CHECK(seen == std::vector<std::vector<std::uint32_t>>{{0, 3}, {1}});
  seen.clear();
  CHECK(choose({1}).kind == Choice::Kind::no_candidates);
  CHECK(seen.empty());
}

TEST_CASE_FIXTURE(Fixture, "another choice needs somebody of each role that the policy needs") {
  own.roles = TG_ROLE_BIT(TG_ROLE_PREFILL) | TG_ROLE_BIT(TG_ROLE_DECODE);
  fleet_of({TG_ROLE_PREFILL, TG_ROLE_DECODE, TG_ROLE_ANY, TG_ROLE_PREFILL});
  CHECK(others_left({}, 0));
  CHECK_FALSE(others_left({}, 1));   // the only one that decodes
  CHECK_FALSE(others_left({3}, 0));  // both that prefill
  set_state(3, TG_WORKER_UNHEALTHY);
  CHECK_FALSE(others_left({}, 0));
}

TEST_CASE_FIXTURE(Fixture, "a policy that names no role looks at those that do anything") {
  fleet_of({TG_ROLE_ANY, TG_ROLE_DECODE, TG_ROLE_ANY});
  CHECK(others_left({}, 0));
  CHECK_FALSE(others_left({2}, 0));
}

}  // namespace
}  // namespace tidegate::routing
