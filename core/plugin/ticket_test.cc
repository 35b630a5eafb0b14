// Who gets which complete(): a root with the children /a (which has a child /a/a) and /b, in all ways of
// using what they chose.
#include <functional>
#include <map>

#include <doctest/doctest.h>

#include "../../tests/plugins/scripted.h"
#include "plugin/policy_node.h"
#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

using testing::FakeEnvironment;
using testing::PlanBuffer;
using testing::PluginDir;
using testing::ToyFleet;
using Pick = std::function<tg_status(const scripted*, const tg_pick_args*, tg_plan*)>;

const tg_plan* ask(const scripted* s, int child, const tg_pick_args* args) {
  const tg_plan* plan = nullptr;
  return s->policies->pick(s->children[child], args, &plan) == TG_OK ? plan : nullptr;
}

struct Tree {
  PluginDir dir;
  FakeEnvironment environment;
  ToyFleet fleet;
  Registry registry{{.path = {(dir.install("scripted"), dir.path())}}, &environment};
  std::map<std::string, Pick> picks;
  std::map<std::string, std::vector<tg_completion>> completes;
  scripted_hooks hooks{this,
                       [](void* self, const scripted* s, const tg_pick_args* args, tg_plan* plan) {
                         return static_cast<Tree*>(self)->picks.at(s->name)(s, args, plan);
                       },
                       [](void* self, const scripted* s, const tg_completion* c) {
                         static_cast<Tree*>(self)->completes[s->name].push_back(*c);
                       }};
  std::shared_ptr<PolicyNode> root = make();
  tg_request request;
  PlanBuffer out;

  std::shared_ptr<PolicyNode> make() {
    const std::string hook = "\"hooks\":" + std::to_string(reinterpret_cast<std::intptr_t>(&hooks));
    const std::string leaf = "{\"plugin\":\"scripted\",\"config\":{" + hook + "}}";
    const std::string a = "{\"plugin\":\"scripted\",\"config\":{" + hook + ",\"a\":" + leaf + "}}";
    auto made = PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "scripted"), "r",
                                   std::string("{").append(hook) + ",\"a\":" + a + ",\"b\":" + leaf + "}",
                                   environment, registry);
    REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
    // Leaves choose the first candidate; /a hands on what its child chose; the root takes /a's leg.
    const auto leaf_pick = [](std::uint64_t cookie) {
      return [cookie](const scripted*, const tg_pick_args* args, tg_plan* plan) {
        tg_plan_select(plan, args->candidates[0])->cookie = cookie;
        return TG_OK;
      };
    };
    picks["r/a/a"] = leaf_pick(11);
    picks["r/b"] = leaf_pick(22);
    picks["r/a"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
      tg_plan_take(plan, ask(s, 0, args)->legs)->cookie = 1;
      return TG_OK;
    };
    picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
      tg_plan_take(plan, ask(s, 0, args)->legs)->cookie = 100;
      return TG_OK;
    };
    return *made;
  }
  PickStatus pick() {
    const tg_pick_args args = fleet.args(request);
    return root->pick(request, nullptr, args, fleet.sets(), out.plan);
  }
  void complete_legs(std::uint32_t outcome = TG_OUTCOME_OK) {
    for (std::uint32_t i = 0; i < out.plan.leg_count; ++i) {
      tg_completion c{};
      c.size = sizeof c;
      c.leg = i;
      c.outcome = outcome;
      root->complete(request, out.legs[i].cookie, out.legs[i].ticket, c);
    }
  }
  // name: outcome/cookie, ... of all completes that an instance got
  std::string got(const std::string& name) {
    std::string text;
    for (const tg_completion& c : completes[name]) {
      if (!text.empty()) text.append(" ");
      text.append(std::to_string(c.outcome)).append("/").append(std::to_string(c.cookie));
    }
    return text;
  }
};

TEST_CASE_FIXTURE(Tree,
                  "a taken leg ends in one complete for each policy on its way, with that policy's cookie") {
  REQUIRE(pick() == PickStatus::select);
  CHECK(completes.empty());
  CHECK(request.open_legs() == 1);
  complete_legs();
  CHECK(got("r") == "0/100");
  CHECK(got("r/a") == "0/1");
  CHECK(got("r/a/a") == "0/11");
  CHECK(got("r/b").empty());
  CHECK(request.open_legs() == 0);
}

TEST_CASE_FIXTURE(Tree,
                  "a child's captures stay right when its parent puts a leg of its own before its plan") {
  static const tg_capture from_the_first = {1, 1, tg_cstr("kv"), {nullptr, 0}};
  picks["r/b"] = [](const scripted*, const tg_pick_args*, tg_plan* plan) {
    tg_plan_add(plan, 0)->response = TG_RESPONSE_DRAIN;
    tg_leg* second = tg_plan_add(plan, 1);
    second->captures = &from_the_first, second->capture_count = 1;
    return TG_OK;
  };
  picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    const tg_plan* chosen = ask(s, 1, args);
    tg_plan_add(plan, 2)->response = TG_RESPONSE_DISCARD;
    for (int i = 0; i < 2; ++i) tg_plan_take(plan, &chosen->legs[i]);
    return TG_OK;
  };
  CHECK(pick() == PickStatus::select);
}

TEST_CASE_FIXTURE(Tree, "a leg that is not taken is dropped, for every policy below") {
  picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    ask(s, 0, args);
    tg_plan_take(plan, ask(s, 1, args)->legs);
    return TG_OK;
  };
  REQUIRE(pick() == PickStatus::select);
  CHECK(got("r/a") == "4/1");
  CHECK(got("r/a/a") == "4/11");
  CHECK(completes["r/a/a"][0].slot == 0);
  CHECK(completes["r/a/a"][0].generation == 10);
  CHECK(completes["r/a/a"][0].request_id == 7);
  complete_legs();
  CHECK(got("r/a") == "4/1");
  CHECK(got("r/b") == "0/22");
  CHECK(got("r") == "0/0");
}

TEST_CASE_FIXTURE(
    Tree,
    "a policy in the middle that drops its child's leg and chooses itself is completed, its child dropped") {
  picks["r/a"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    ask(s, 0, args);
    tg_plan_select(plan, 2)->cookie = 5;
    return TG_OK;
  };
  REQUIRE(pick() == PickStatus::select);
  complete_legs();
  CHECK(got("r/a") == "0/5");
  CHECK(got("r/a/a") == "4/11");
}

TEST_CASE_FIXTURE(Tree, "when the root does not select, everything below is dropped") {
  for (const std::uint32_t verdict : {TG_PICK_WAIT, TG_PICK_FAIL, TG_PICK_SHED}) {
    completes.clear();
    picks["r"] = [&](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
      ask(s, 0, args);
      plan->verdict = verdict;
      return TG_OK;
    };
    CHECK(pick() != PickStatus::select);
    CHECK(got("r/a") == "4/1");
    CHECK(got("r/a/a") == "4/11");
    CHECK(got("r").empty());
  }
}

TEST_CASE_FIXTURE(Tree, "when the root slips, everything below is dropped and the root is owed nothing") {
  SUBCASE("by failing") {
    picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan*) {
      return ask(s, 0, args), TG_E_INTERNAL;
    };
  }
  SUBCASE("by a bad plan with good tickets in it") {
    picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
      tg_plan_take(plan, ask(s, 0, args)->legs);
      tg_plan_add(plan, 77);
      return TG_OK;
    };
  }
  SUBCASE("by using a ticket twice") {
    picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
      const tg_plan* chosen = ask(s, 0, args);
      tg_plan_take(plan, chosen->legs)->response = TG_RESPONSE_DRAIN;
      tg_plan_take(plan, chosen->legs);
      return TG_OK;
    };
  }
  SUBCASE("by moving a child's leg to another worker") {
    picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
      tg_plan_take(plan, ask(s, 0, args)->legs)->slot = 3;
      return TG_OK;
    };
  }
  CHECK(pick() == PickStatus::slip);
  CHECK(got("r/a") == "4/1");
  CHECK(got("r/a/a") == "4/11");
  CHECK(got("r").empty());
  CHECK(request.open_legs() == 0);
}

TEST_CASE_FIXTURE(Tree,
                  "when a child slips, its own child is dropped, and the parent may go on with another") {
  picks["r/a"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    ask(s, 0, args);
    tg_plan_select(plan, 55);
    return TG_OK;
  };
  picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    CHECK(ask(s, 0, args) == nullptr);
    tg_plan_take(plan, ask(s, 1, args)->legs);
    return TG_OK;
  };
  REQUIRE(pick() == PickStatus::select);
  complete_legs();
  CHECK(got("r/a").empty());
  CHECK(got("r/a/a") == "4/11");
  CHECK(got("r/b") == "0/22");
  CHECK(root->children()[0]->containment().slips(Slip::slot) == 1);
}

TEST_CASE_FIXTURE(Tree, "both children in one plan, and a child asked twice, each end once") {
  picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    ask(s, 1, args);
    tg_plan_take(plan, ask(s, 0, args)->legs)->response = TG_RESPONSE_DRAIN;
    tg_plan_take(plan, ask(s, 1, args)->legs);
    return TG_OK;
  };
  REQUIRE(pick() == PickStatus::select);
  CHECK(got("r/b") == "4/22");
  complete_legs(TG_OUTCOME_CANCELLED);
  CHECK(got("r/a") == "2/1");
  CHECK(got("r/a/a") == "2/11");
  CHECK(got("r/b") == "4/22 2/22");
  CHECK(got("r") == "2/0 2/0");
}

TEST_CASE_FIXTURE(Tree, "a second pick while legs of the first are open leaves their tickets alone") {
  REQUIRE(pick() == PickStatus::select);
  const tg_leg first = out.legs[0];
  REQUIRE(pick() == PickStatus::select);
  CHECK(completes.empty());
  complete_legs();
  root->complete(request, first.cookie, first.ticket, tg_completion{});
  CHECK(got("r/a/a") == "0/11 0/11");
  CHECK(got("r") == "0/100 0/100");
}

TEST_CASE_FIXTURE(Tree, "a ticket of an earlier pick is a slip") {
  REQUIRE(pick() == PickStatus::select);
  const tg_leg first = out.legs[0];
  picks["r"] = [&](const scripted*, const tg_pick_args*, tg_plan* plan) {
    return tg_plan_take(plan, &first), TG_OK;
  };
  CHECK(pick() == PickStatus::slip);
  CHECK(got("r/a").empty());
  root->complete(request, first.cookie, first.ticket, tg_completion{});
  CHECK(got("r/a") == "0/1");
}

TEST_CASE_FIXTURE(Tree, "a child is held to the candidates that its parent left it") {
  picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    static const std::uint32_t narrowed[] = {1, 3};
    tg_pick_args mine = *args;
    mine.candidates = narrowed;
    mine.candidate_count = 2;
    const tg_plan* chosen = ask(s, 1, &mine);
    if (!chosen) return TG_E_INTERNAL;
    tg_plan_take(plan, chosen->legs);
    return TG_OK;
  };
  REQUIRE(pick() == PickStatus::select);
  CHECK(out.legs[0].slot == 1);
  complete_legs();
  picks["r/b"] = [](const scripted*, const tg_pick_args*, tg_plan* plan) {
    return tg_plan_select(plan, 2), TG_OK;
  };
  CHECK(pick() == PickStatus::slip);
  CHECK(root->children()[1]->containment().slips(Slip::slot) == 1);
}

TEST_CASE_FIXTURE(Tree, "a request that waits is picked for again and again in the same memory") {
  picks["r"] = [](const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    ask(s, 0, args);
    plan->verdict = TG_PICK_WAIT;
    return TG_OK;
  };
  const auto* service = &request_service;
  pick();
  for (int i = 0; i < 10'000; ++i) REQUIRE(pick() == PickStatus::wait);
  CHECK(completes["r/a"].size() == 10'001);
  CHECK(service->allocate(&request, arena_limit, 8) != nullptr);
}

TEST_CASE_FIXTURE(Tree, "children are named after their place, and what they need adds up in the root") {
  REQUIRE(root->children().size() == 2);
  CHECK(root->children()[0]->instance() == "r/a");
  CHECK(root->children()[0]->children()[0]->instance() == "r/a/a");
  CHECK(root->describe().find("\"instance\":\"r/a/a\"") != std::string::npos);
}

TEST_CASE_FIXTURE(Tree, "nesting deeper than 8 is refused with the place") {
  const std::string hook = "\"hooks\":" + std::to_string(reinterpret_cast<std::intptr_t>(&hooks));
  const auto nested = [&](int depth) {
    std::string config = std::string("{").append(hook) + "}";
    for (int i = 1; i < depth; ++i)
      config = std::string("{").append(hook) + R"(,"a":{"plugin":"scripted","config":)" + config + "}}";
    return PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "scripted"), "r", config, environment,
                              registry);
  };
  CHECK(nested(8));
  const auto refused = nested(9);
  REQUIRE_FALSE(refused);
  CHECK(refused.refusal().where.find("/a/config/a/config") == 0);
  CHECK(refused.refusal().text.find("expected policies nested at most 8 deep, found more; nest fewer") !=
        std::string::npos);
}

TEST_CASE_FIXTURE(Tree, "a child whose plugin is unknown is refused with the place") {
  const auto refused = PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "scripted"), "r",
                                          R"({"a":{"plugin":"nobody"}})", environment, registry);
  REQUIRE_FALSE(refused);
  CHECK(refused.refusal().where == "/a/plugin");
  CHECK(refused.refusal().text.find("expected nobody.so or a library") != std::string::npos);
}

TEST_CASE("a plan of two children's legs from a library: prefill drained, decode relayed") {
  const PluginDir dir;
  dir.install("parent");
  dir.install("first");
  FakeEnvironment environment;
  const ToyFleet fleet;
  Registry registry({.path = {dir.path()}}, &environment);
  const auto node =
      *PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "parent"), "r",
                          R"({"first":{"plugin":"first"},"second":"first"})", environment, registry);
  CHECK(node->traits().roles == (TG_ROLE_BIT(TG_ROLE_PREFILL) | TG_ROLE_BIT(TG_ROLE_DECODE)));
  tg_request request;
  PlanBuffer out;
  const tg_pick_args args = fleet.args(request);
  REQUIRE(node->pick(request, nullptr, args, fleet.sets(), out.plan) == PickStatus::select);
  REQUIRE(out.plan.leg_count == 2);
  CHECK(out.legs[0].slot == 4);
  CHECK(out.legs[0].stage == TG_ROLE_PREFILL);
  CHECK(out.legs[0].response == TG_RESPONSE_DRAIN);
  CHECK(out.legs[1].slot == 6);
  CHECK(out.legs[1].start == TG_START_AFTER_PREVIOUS);
}

}  // namespace
}  // namespace tidegate::plugin
