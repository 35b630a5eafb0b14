// Longer than 400 lines: every rule of a policy's life over one scripted policy.
#include "plugin/policy_node.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>

#include <doctest/doctest.h>

#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

using testing::FakeEnvironment;
using testing::PlanBuffer;
using testing::PluginDir;
using testing::ToyFleet;

// A policy whose functions are the test's own, within a library that is really loaded.
struct Script {
  std::function<tg_status(const tg_pick_args*, tg_plan*)> pick = [](const tg_pick_args* args, tg_plan* plan) {
    tg_plan_select(plan, args->candidates[0]);
    return TG_OK;
  };
  std::function<tg_status(const tg_host*)> create = [](const tg_host*) { return TG_OK; };
  std::function<tg_status(const tg_snapshot*, void**)> build = [](const tg_snapshot*, void** table) {
    *table = new int(0);
    return TG_OK;
  };
  std::vector<std::string> events;
  std::vector<tg_completion> completions;
  std::vector<std::string> learned;
  std::uint32_t rebuild = 0;
  const void* table_seen = nullptr;
  std::string exported;
  bool adopt_ok = true;
};
Script* script = nullptr;  // create() takes it as its instance's

struct Fixture {
  PluginDir dir;
  FakeEnvironment environment;
  ToyFleet fleet;
  std::string path = dir.install("first");
  Registry registry{{.path = {dir.path()}}, &environment};
  Component component = make_component();
  Script own;
  tg_request request;
  PlanBuffer out;

  Fixture() {
    script = &own;
    registry.find(TG_POLICY_INTERFACE, "first");
  }

  Component make_component() {
    Component c;
    c.library = *Library::open(path, {});
    c.name = "scripted";
    c.interface_id = TG_POLICY_INTERFACE;
    c.flags = TG_CONCURRENT;
    c.policy.size = sizeof c.policy;
    c.policy.create = [](const tg_host* host, tg_str, tg_policy_traits*, void** self,
                         tg_error* error) -> tg_status {
      *self = script;
      const tg_status status = script->create(host);
      if (status != TG_OK)
        set_error(error, status, "/limit", "expected a limit of at most 5, found 9; lower it");
      return status;
    };
    c.policy.destroy = [](void* self) { static_cast<Script*>(self)->events.push_back("destroy"); };
    c.policy.pick = [](void* self, const void* table, const tg_pick_args* args, tg_plan* plan) {
      static_cast<Script*>(self)->table_seen = table;
      return static_cast<Script*>(self)->pick(args, plan);
    };
    c.policy.complete = [](void* self, const tg_completion* completion) {
      static_cast<Script*>(self)->completions.push_back(*completion);
    };
    c.policy.learn = [](void* self, const tg_record* records, std::uint32_t count, std::uint32_t* rebuild) {
      for (std::uint32_t i = 0; i < count; ++i)
        static_cast<Script*>(self)->learned.emplace_back(static_cast<const char*>(records[i].data),
                                                         records[i].len);
      *rebuild = static_cast<Script*>(self)->rebuild;
    };
    return c;
  }
  void with_tables() {
    component.policy.build = [](void* self, const tg_snapshot* snapshot, void** table, tg_error*) {
      return static_cast<Script*>(self)->build(snapshot, table);
    };
    component.policy.release = [](void* self, void* table) {
      static_cast<Script*>(self)->events.push_back("release");
      delete static_cast<int*>(table);
    };
  }
  std::shared_ptr<PolicyNode> make(ContainmentLimits limits = {}, const std::string& config = "{}") {
    auto made = PolicyNode::create(component, "route1", config, environment, registry, limits);
    REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
    return *made;
  }
  PickStatus pick(PolicyNode& node, const TableSet* tables = nullptr) {
    const tg_pick_args args = fleet.args(request);
    return node.pick(request, tables, args, fleet.sets(), out.plan);
  }
  // What a pick that fills the plan like this is judged to be: the name of the slip, or the status.
  std::string judged(const std::function<void(tg_plan*)>& fill) {
    own.pick = [&](const tg_pick_args*, tg_plan* plan) { return fill(plan), TG_OK; };
    const auto node = make();
    const PickStatus status = pick(*node);
    for (std::size_t i = 0; i < slip_kinds; ++i)
      if (node->containment().slips(static_cast<Slip>(i))) return slip_name(static_cast<Slip>(i));
    return status == PickStatus::select ? "select" : "other";
  }
};

TEST_CASE_FIXTURE(Fixture, "a good pick is selected, and its leg is as the policy left it") {
  const auto node = make();
  CHECK(pick(*node) == PickStatus::select);
  CHECK(out.plan.leg_count == 1);
  CHECK(out.legs[0].slot == 0);
  CHECK(node->containment().all_slips() == 0);
}

TEST_CASE_FIXTURE(Fixture, "each verdict is passed on, and only SELECT has legs") {
  const std::pair<std::uint32_t, PickStatus> verdicts[] = {
      {TG_PICK_WAIT, PickStatus::wait}, {TG_PICK_FAIL, PickStatus::fail}, {TG_PICK_SHED, PickStatus::shed}};
  const auto node = make();
  for (const auto& [verdict, status] : verdicts) {
    own.pick = [verdict = verdict](const tg_pick_args*, tg_plan* plan) {
      tg_plan_select(plan, 0);
      plan->verdict = verdict;
      return TG_OK;
    };
    CHECK(pick(*node) == status);
    CHECK(out.plan.leg_count == 0);
  }
  CHECK(node->containment().all_slips() == 0);
}

TEST_CASE_FIXTURE(Fixture, "malformed plans are slips of their kind") {
  static const tg_edit nameless = {TG_EDIT_SET, 0, {nullptr, 0}, {"1", 1}};
  static const tg_edit split = {TG_EDIT_SET, 0, {"x-a", 3}, {"1\r\nHost: evil", 13}};
  static const tg_capture capture = {1, 0, {"kv", 2}, {nullptr, 0}};
  static const tg_capture itself = {0, 0, {"kv", 2}, {nullptr, 0}};
  static const tg_capture before_all = {2, 0, {"kv", 2}, {nullptr, 0}};
  const auto two_legs = [](tg_plan* p, std::uint32_t first_response) {
    tg_plan_add(p, 0)->response = first_response;
    return tg_plan_add(p, 1);
  };
  CHECK(judged([](tg_plan* p) { p->verdict = 9; }) == "verdict");
  CHECK(judged([](tg_plan* p) { p->verdict = TG_PICK_SELECT; }) == "leg_count");
  CHECK(judged([](tg_plan* p) { p->verdict = TG_PICK_SELECT, p->leg_count = 17; }) == "leg_count");
  CHECK(judged([](tg_plan* p) { p->verdict = TG_PICK_SELECT, p->leg_count = 1; }) == "leg");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0), p->legs = nullptr; }) == "leg");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 8); }) == "slot");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, TG_NONE); }) == "slot");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->generation = 3; }) == "slot");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->generation = 10; }) == "select");
  CHECK(judged([&](tg_plan* p) { two_legs(p, TG_RESPONSE_RELAY); }) == "relay");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->response = TG_RESPONSE_DRAIN; }) == "relay");
  CHECK(judged([](tg_plan* p) {
          tg_leg* leg = tg_plan_select(p, 0);
          leg->edits = &nameless, leg->edit_count = 1;
        }) == "edit");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->edit_count = 1; }) == "edit");
  CHECK(judged([](tg_plan* p) {
          tg_leg* leg = tg_plan_select(p, 0);
          leg->headers = &split, leg->header_count = 1;
        }) == "edit");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->path = tg_cstr("/x HTTP/1.1\r\n"); }) == "edit");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->cancel.method = tg_cstr("POST"); }) == "edit");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0)->ticket = 1; }) == "ticket");
  const auto with_capture = [&](tg_plan* p, const tg_capture& c, std::uint32_t response,
                                std::uint32_t start) {
    tg_leg* leg = two_legs(p, response);
    leg->start = start;
    leg->captures = &c, leg->capture_count = 1;
  };
  CHECK(judged([&](tg_plan* p) { with_capture(p, capture, TG_RESPONSE_DRAIN, TG_START_AFTER_PREVIOUS); }) ==
        "select");
  CHECK(judged([&](tg_plan* p) { with_capture(p, itself, TG_RESPONSE_DRAIN, TG_START_AFTER_PREVIOUS); }) ==
        "capture");
  CHECK(judged([&](tg_plan* p) {
          with_capture(p, before_all, TG_RESPONSE_DRAIN, TG_START_AFTER_PREVIOUS);
        }) == "capture");
  CHECK(judged([&](tg_plan* p) { with_capture(p, capture, TG_RESPONSE_DISCARD, TG_START_AFTER_PREVIOUS); }) ==
        "capture");
  CHECK(judged([&](tg_plan* p) { with_capture(p, capture, TG_RESPONSE_DRAIN, TG_START_WITH_PREVIOUS); }) ==
        "capture");
}

TEST_CASE_FIXTURE(Fixture, "edits of headers that are the gateway's own are slips") {
  static const char* const forbidden[] = {
      "Host", "content-length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE", "keep-alive"};
  for (const char* name : forbidden)
    for (const std::uint32_t op : {TG_EDIT_SET, TG_EDIT_DROP}) {
      const tg_edit edit = {op, 0, tg_cstr(name), tg_cstr("x")};
      CAPTURE(name);
      CHECK(judged([&](tg_plan* p) {
              tg_leg* leg = tg_plan_select(p, 0);
              leg->headers = &edit, leg->header_count = 1;
            }) == "edit");
    }
  const tg_edit own_header = {TG_EDIT_SET, 0, tg_cstr("authorization"), tg_cstr("Bearer x")};
  CHECK(judged([&](tg_plan* p) {
          tg_leg* leg = tg_plan_select(p, 0);
          leg->headers = &own_header, leg->header_count = 1;
        }) == "select");
}

TEST_CASE_FIXTURE(Fixture,
                  "edits of a body and captures into it are slips where the body is no JSON object") {
  static const tg_edit edit = {TG_EDIT_SET, 0, tg_cstr("stream"), tg_cstr("true")};
  static const tg_capture capture = {1, 0, tg_cstr("kv"), {nullptr, 0}};
  const auto edited = [](tg_plan* p) {
    tg_leg* leg = tg_plan_select(p, 0);
    leg->edits = &edit, leg->edit_count = 1;
  };
  const auto captured = [](tg_plan* p) {
    tg_plan_add(p, 0)->response = TG_RESPONSE_DRAIN;
    tg_leg* leg = tg_plan_add(p, 1);
    leg->captures = &capture, leg->capture_count = 1;
  };
  CHECK(judged(edited) == "select");
  CHECK(judged(captured) == "select");
  request.set_body_editable(false);
  CHECK(judged(edited) == "edit");
  CHECK(judged(captured) == "capture");
  CHECK(judged([](tg_plan* p) { tg_plan_select(p, 0); }) == "select");
}

TEST_CASE_FIXTURE(Fixture, "unknown values of a leg's enums become their defaults") {
  own.pick = [](const tg_pick_args*, tg_plan* plan) {
    tg_leg* leg = tg_plan_select(plan, 0);
    leg->start = 7, leg->on_failure = 7, leg->cancel.when = 7, leg->stage = 7;
    tg_plan_add(plan, 1)->response = 7;
    return TG_OK;
  };
  const auto node = make();
  CHECK(pick(*node) == PickStatus::select);
  CHECK(out.legs[0].start == TG_START_WITH_PREVIOUS);
  CHECK(out.legs[0].on_failure == TG_FAILURE_FAIL);
  CHECK(out.legs[0].cancel.when == TG_CANCEL_AT_ONCE);
  CHECK(out.legs[0].stage == TG_ROLE_ANY);
  CHECK(out.legs[1].response == TG_RESPONSE_DISCARD);
}

TEST_CASE_FIXTURE(Fixture, "slips are logged once a window, with plugin, component, instance and kind") {
  own.pick = [](const tg_pick_args*, tg_plan*) { return TG_E_INTERNAL; };
  const auto node = make();
  for (int i = 0; i < 3; ++i) CHECK(pick(*node) == PickStatus::slip);
  CHECK(environment.count_logs("a plugin call went wrong") == 1);
  const testing::LogLine line = environment.log_of("a plugin call went wrong");
  CHECK(line.instance == "route1");
  CHECK(line.fields.at("plugin") == "first");
  CHECK(line.fields.at("component") == "scripted");
  CHECK(line.fields.at("slip") == "status");
  environment.now_ns += 11'000'000'000;
  pick(*node);
  CHECK(environment.count_logs("a plugin call went wrong") == 2);
  CHECK(environment.logs.back().fields.at("slips_since_last_line") == "3");
}

TEST_CASE_FIXTURE(Fixture,
                  "slips in a row quarantine; a good pick between them does not let it come to that") {
  int calls = 0;
  bool good = false;
  own.pick = [&](const tg_pick_args* args, tg_plan* plan) {
    ++calls;
    if (!good) return TG_E_INTERNAL;
    tg_plan_select(plan, args->candidates[0]);
    return TG_OK;
  };
  const auto node = make({.consecutive_slips = 3});
  for (const bool each : {false, false, true, false, false}) good = each, pick(*node);
  CHECK_FALSE(node->quarantined());
  good = false;
  pick(*node);
  CHECK(node->containment().quarantine() == Quarantine::slips);
  calls = 0;
  CHECK(pick(*node) == PickStatus::quarantined);
  CHECK(calls == 0);
  CHECK(environment.count_logs("plugin instance quarantined until the next reload") == 1);
  CHECK(node->describe().find("\"quarantined\":\"slips\"") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a quarantined instance still gets the complete that it is owed") {
  const auto node = make({.consecutive_slips = 1});
  pick(*node);
  own.pick = [](const tg_pick_args*, tg_plan*) { return TG_E_INTERNAL; };
  tg_request other;
  const tg_pick_args args = fleet.args(other);
  PlanBuffer unused;
  node->pick(other, nullptr, args, fleet.sets(), unused.plan);
  REQUIRE(node->quarantined());
  node->complete(request, 0, 0, tg_completion{});
  CHECK(own.completions.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "too many calls over their budget quarantine") {
  own.pick = [&](const tg_pick_args* args, tg_plan* plan) {
    environment.now_ns += 2'000'000;
    tg_plan_select(plan, args->candidates[0]);
    return TG_OK;
  };
  const auto node = make({.budget_ns = 1'000'000, .over_budget = 4});
  for (std::uint32_t i = 0; i < 50 * sample_period && !node->quarantined(); ++i) pick(*node);
  CHECK(node->containment().quarantine() == Quarantine::budget);
  CHECK(node->containment().slips(Slip::over_budget) == 4);
}

TEST_CASE("exceptions from a library are slips, not the end") {
  const PluginDir dir;
  dir.install("thrower");
  FakeEnvironment environment;
  const ToyFleet fleet;
  Registry registry({.path = {dir.path()}}, &environment);
  const Component& thrower = **registry.find(TG_POLICY_INTERFACE, "thrower");
  const auto refused = PolicyNode::create(thrower, "r", "create", environment, registry);
  REQUIRE_FALSE(refused);
  CHECK(refused.refusal().text ==
        "policy 'thrower' (" + dir.at("thrower") + "), instance 'r': create() threw an exception");
  const auto node = *PolicyNode::create(thrower, "r", "pick complete", environment, registry);
  tg_request request;
  PlanBuffer out;
  const tg_pick_args args = fleet.args(request);
  const auto tables = node->build(fleet.snapshot());
  CHECK(node->pick(request, tables.get(), args, fleet.sets(), out.plan) == PickStatus::slip);
  node->complete(request, 0, 0, tg_completion{});
  CHECK(node->containment().slips(Slip::exception) == 2);
  const auto builds = *PolicyNode::create(thrower, "r", "build", environment, registry);
  builds->build(fleet.snapshot());
  CHECK(builds->containment().slips(Slip::exception) == 1);
  CHECK(builds->containment().slips(Slip::build) == 1);
  CHECK(builds->build_failure().ends_with("build() threw an exception"));
}

TEST_CASE_FIXTURE(Fixture, "create's refusal names plugin, instance, place and reason") {
  own.create = [](const tg_host*) { return TG_E_CONFIG; };
  const auto refused = PolicyNode::create(component, "route1", "{}", environment, registry);
  REQUIRE_FALSE(refused);
  CHECK(refused.refusal().text ==
        "policy 'scripted' (" + path +
            "), instance 'route1': expected a limit of at most 5, found 9; lower it");
  CHECK(refused.refusal().where == "/limit");
}

TEST_CASE_FIXTURE(
    Fixture, "picks see the table of the set in force, and it is released on control after its last user") {
  with_tables();
  const auto node = make();
  auto old_set = node->build(fleet.snapshot());
  pick(*node, old_set.get());
  const void* old_table = own.table_seen;
  const auto new_set = node->build(fleet.snapshot());
  pick(*node, new_set.get());
  CHECK(own.table_seen != old_table);
  pick(*node, old_set.get());
  CHECK(own.table_seen == old_table);
  CHECK(own.events.empty());
  std::thread([&] { old_set.reset(); }).join();
  CHECK(own.events.empty());  // not on that thread
  environment.run_posted();
  CHECK(own.events == std::vector<std::string>{"release"});
}

TEST_CASE_FIXTURE(Fixture,
                  "destroy comes on control after the last table, wherever root and tables are let go of") {
  with_tables();
  auto node = make();
  auto set = node->build(fleet.snapshot());
  std::thread([&] { node.reset(), set.reset(); }).join();
  CHECK(own.events.empty());
  environment.run_posted();
  CHECK(own.events == std::vector<std::string>{"release", "destroy"});
}

TEST_CASE_FIXTURE(Fixture,
                  "without a table for its snapshot a policy does not pick: an older one need not fit it") {
  with_tables();
  const auto node = make();
  const auto first = node->build(fleet.snapshot());
  CHECK(node->build_failure().empty());
  const auto works = own.build;
  own.build = [](const tg_snapshot*, void**) { return TG_E_INTERNAL; };
  const auto second = node->build(fleet.snapshot());
  CHECK(node->build_failure() ==
        "policy 'scripted' (" + path + "), instance 'route1': build() failed with status 9 and no text");
  own.table_seen = nullptr;
  CHECK(pick(*node, second.get()) == PickStatus::slip);
  CHECK(own.table_seen == nullptr);
  CHECK(node->containment().slips(Slip::build) == 1);
  CHECK(node->containment().all_slips() == 1);
  CHECK(pick(*node, first.get()) == PickStatus::select);
  own.build = works;
  CHECK(pick(*node, node->build(fleet.snapshot()).get()) == PickStatus::select);
  CHECK(node->build_failure().empty());
}

TEST_CASE_FIXTURE(Fixture, "a snapshot lives until the tables made from it are released") {
  with_tables();
  const auto node = make();
  auto snapshot = fleet.snapshot();
  const std::weak_ptr<const tg_snapshot> watched = snapshot;
  auto set = node->build(snapshot);
  snapshot.reset();
  CHECK_FALSE(watched.expired());
  set.reset();
  set = node->build(fleet.snapshot());
  CHECK(watched.expired());
}

TEST_CASE_FIXTURE(Fixture, "what picks remember comes to learn, oldest first, and may ask for a rebuild") {
  const tg_host* host = nullptr;
  own.create = [&](const tg_host* h) { return host = h, TG_OK; };
  const auto node = make();
  const auto* service = static_cast<const tg_host_request*>(host->get_interface(host, TG_HOST_REQUEST));
  for (const char* text : {"one", "two", "three"})
    CHECK(service->remember(host, &request, text, static_cast<std::uint32_t>(std::strlen(text))));
  CHECK_FALSE(node->drain_learn());
  CHECK(own.learned == std::vector<std::string>{"one", "two", "three"});
  own.rebuild = 1;
  CHECK_FALSE(node->drain_learn());  // nothing to learn from
  service->remember(host, &request, "four", 4);
  CHECK(node->drain_learn());
}

TEST_CASE_FIXTURE(
    Fixture, "an instance that is not concurrent is called by one thread at a time, and waiting is counted") {
  component.flags = 0;
  environment.fake_time = false;
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<bool> second_waits{false};
  own.pick = [&](const tg_pick_args* args, tg_plan* plan) {
    most = std::max(most.load(), ++inside);
    while (!second_waits) std::this_thread::yield();
    for (int i = 0; i < 20'000 && most == 1; ++i) std::this_thread::yield();
    --inside;
    tg_plan_select(plan, args->candidates[0]);
    return TG_OK;
  };
  const auto node = make({.budget_ns = ~std::uint64_t{0}});
  const auto one_pick = [&] {
    tg_request mine;
    PlanBuffer buffer;
    const tg_pick_args args = fleet.args(mine);
    CHECK(node->pick(mine, nullptr, args, fleet.sets(), buffer.plan) == PickStatus::select);
  };
  std::thread first(one_pick);
  while (inside == 0) std::this_thread::yield();
  std::thread second([&] { second_waits = true, one_pick(); });
  first.join();
  second.join();
  CHECK(most == 1);
  CHECK(node->containment().serial_waits() == 1);
  CHECK(node->containment().serial_wait_ns() > 0);
}

TEST_CASE_FIXTURE(Fixture,
                  "learning, building and describing wait for a pick of an instance that is not concurrent") {
  component.flags = 0;
  environment.fake_time = false;
  with_tables();
  component.policy.describe = [](void* self, tg_out*) -> tg_status {
    static_cast<Script*>(self)->events.push_back("describe");
    return TG_OK;
  };
  std::atomic<bool> inside{false}, leave{false};
  own.pick = [&](const tg_pick_args* args, tg_plan* plan) {
    inside = true;
    while (!leave) std::this_thread::yield();
    script->events.push_back("pick ends");
    tg_plan_select(plan, args->candidates[0]);
    return TG_OK;
  };
  own.build = [](const tg_snapshot*, void** table) {
    script->events.push_back("build");
    *table = new int(0);
    return TG_OK;
  };
  const auto node = make({.budget_ns = ~std::uint64_t{0}});
  const auto tables = node->build(fleet.snapshot());
  own.events.clear();
  std::thread picking([&] {
    tg_request mine;
    PlanBuffer buffer;
    const tg_pick_args args = fleet.args(mine);
    CHECK(node->pick(mine, tables.get(), args, fleet.sets(), buffer.plan) == PickStatus::select);
  });
  while (!inside) std::this_thread::yield();
  const std::uint64_t waits = node->containment().serial_waits();
  std::thread control([&] { node->build(fleet.snapshot()), node->describe(); });
  for (int i = 0; i < 20'000; ++i) std::this_thread::yield();
  leave = true;
  picking.join();
  control.join();
  environment.run_posted();
  REQUIRE(own.events.size() >= 3);
  CHECK(own.events[0] == "pick ends");
  CHECK(own.events[1] == "build");
  CHECK(std::count(own.events.begin(), own.events.end(), "describe") == 1);
  CHECK(node->containment().serial_waits() == waits + 1);
}

TEST_CASE_FIXTURE(Fixture, "an export that was cut off is not imported; what became of state is logged") {
  component.policy.export_state = [](void*, tg_out* out) -> tg_status {
    const std::string piece(std::size_t{1} << 20, 'x');
    for (int i = 0; i < script->adopt_ok * 64 + 1; ++i) out->write(out, to_str(piece));
    return TG_OK;
  };
  component.policy.import_state = [](void*, tg_str) -> tg_status { return TG_OK; };
  const auto old = make();
  CHECK(make()->adopt_from(*old).cold == 1);
  CHECK(environment.log_of("a policy's state after a reload").fields.at("state") == "cold");
  own.adopt_ok = false;
  CHECK(make()->adopt_from(*old).imported == 1);
  CHECK(environment.logs.back().fields.at("state") == "imported");
}

TEST_CASE_FIXTURE(Fixture, "a leg that names its part goes to a worker of that role or of role ANY") {
  const auto staged = [](std::uint32_t slot, std::uint32_t stage) {
    return [=](tg_plan* p) { tg_plan_select(p, slot)->stage = stage; };
  };
  CHECK(judged(staged(4, TG_ROLE_DECODE)) == "slot");
  CHECK(judged(staged(6, TG_ROLE_PREFILL)) == "slot");
  CHECK(judged(staged(4, TG_ROLE_PREFILL)) == "select");
  CHECK(judged(staged(0, TG_ROLE_PREFILL)) == "select");
  CHECK(judged(staged(6, TG_ROLE_ANY)) == "select");
}

TEST_CASE_FIXTURE(Fixture, "state is adopted where component, instance and state_id match") {
  component.policy.state_id = 5;
  component.policy.adopt = [](void* self, void* previous) {
    return tg_status{static_cast<Script*>(self)->adopt_ok && previous ? TG_OK : TG_E_INVALID};
  };
  const auto old = make();
  const auto same = make();
  CHECK(same->adopt_from(*old).adopted == 1);
  Component changed = component;
  changed.policy.state_id = 6;
  CHECK((*PolicyNode::create(changed, "route1", "{}", environment, registry))->adopt_from(*old).cold == 1);
  Component never = component;
  never.policy.state_id = 0;
  const auto zero = *PolicyNode::create(never, "route1", "{}", environment, registry);
  CHECK((*PolicyNode::create(never, "route1", "{}", environment, registry))->adopt_from(*zero).cold == 1);
  CHECK((*PolicyNode::create(component, "route2", "{}", environment, registry))->adopt_from(*old).cold == 1);
}

TEST_CASE("three builds of one policy live side by side and hand on what both can read") {
  const PluginDir dir;
  FakeEnvironment environment;
  const ToyFleet fleet;
  Registry registry({.path = {dir.path()}}, &environment);
  std::vector<std::shared_ptr<PolicyNode>> nodes;
  for (const char* build : {"swap_v1", "swap_v2", "swap_v3"}) {
    dir.install(build, "swap");
    registry.rescan();
    nodes.push_back(
        *PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "swap"), "r", "{}", environment, registry));
    if (nodes.size() > 1) CHECK(nodes.back()->adopt_from(*nodes[nodes.size() - 2]).imported == 1);
  }
  for (std::uint64_t i = 0; i < 3; ++i) {
    tg_request request;
    PlanBuffer out;
    const tg_pick_args args = fleet.args(request);
    REQUIRE(nodes[i]->pick(request, nullptr, args, fleet.sets(), out.plan) == PickStatus::select);
    CHECK(out.legs[0].cookie == i + 1);
    const std::string number = std::to_string(i + 1);
    CHECK(nodes[i]->describe().find("{\"build\":\"v" + number + "\",\"static\":\"build " + number + "\"}") !=
          std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture, "a plan that wants a transform of a policy without one is a slip") {
  const auto with_transform = [](tg_plan* p) { tg_plan_select(p, 0), p->transform = 1; };
  CHECK(judged(with_transform) == "relay");
  component.policy.transform = [](void*, const tg_transform_args*, tg_out*) -> tg_status { return TG_OK; };
  CHECK(judged(with_transform) == "select");
}

TEST_CASE_FIXTURE(Fixture, "transform is guarded; without one, or after its failure, data stays as it came") {
  const auto transform = [&](PolicyNode& node) {
    std::string written;
    return node.transform(request, {}, true, 0, {}, written);
  };
  CHECK_FALSE(transform(*make()));
  component.policy.transform = [](void*, const tg_transform_args*, tg_out*) -> tg_status {
    return TG_E_LIMIT;
  };
  const auto failing = make();
  CHECK_FALSE(transform(*failing));
  CHECK(failing->containment().slips(Slip::status) == 1);
}

}  // namespace
}  // namespace tidegate::plugin
