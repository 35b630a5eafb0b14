// Scorers: a policy with one, /s, whose functions are the test's own.
#include <cmath>
#include <functional>
#include <limits>

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

// Asks its scorer, keeps what it said, and picks the first candidate whose score is above 0; else fails.
struct Scored {
  PluginDir dir;
  FakeEnvironment environment;
  ToyFleet fleet;
  Registry registry{{.path = {(dir.install("scripted"), dir.path())}}, &environment};
  std::function<tg_status(const tg_pick_args*, float*)> score = [](const tg_pick_args* args, float* out) {
    for (std::uint32_t i = 0; i < args->candidate_count; ++i) out[i] = args->candidates[i] == 2 ? 1.0f : 0.0f;
    return TG_OK;
  };
  std::function<tg_status(void**)> build = [](void**) { return TG_OK; };
  std::vector<std::string> completes;  // instance/cookie
  tg_status status = -1;               // of the last scoring
  std::vector<float> said;
  int calls = 0;
  const void* table_seen = nullptr;
  scripted_hooks hooks{
      this,
      [](void* self, const scripted* s, const tg_pick_args* args, tg_plan* plan) {
        return static_cast<Scored*>(self)->choose(s, args, plan);
      },
      [](void* self, const scripted* s, const tg_completion* c) {
        static_cast<Scored*>(self)->completes.push_back(s->name + std::string("/") +
                                                        std::to_string(c->cookie));
      },
      [](void* self, const scripted*, const void* table, const tg_pick_args* args, float* out) {
        auto& test = *static_cast<Scored*>(self);
        ++test.calls;
        test.table_seen = table;
        return test.score(args, out);
      },
      [](void* self, const scripted*, const tg_snapshot*, void** table) {
        return static_cast<Scored*>(self)->build(table);
      }};
  std::shared_ptr<PolicyNode> root = make();
  std::shared_ptr<const TableSet> tables = root->build(fleet.snapshot());
  tg_request request;
  PlanBuffer out;

  std::shared_ptr<PolicyNode> make(const std::string& scorer = "scripted") {
    const std::string hook = "\"hooks\":" + std::to_string(reinterpret_cast<std::intptr_t>(&hooks));
    auto made =
        PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "scripted"), "r",
                           "{" + hook + R"(,"s":{"plugin":")" + scorer + R"(","config":{)" + hook + "}}}",
                           environment, registry, {.consecutive_slips = 3});
    REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
    return *made;
  }
  tg_status choose(const scripted* s, const tg_pick_args* args, tg_plan* plan) {
    float scores[8];
    std::fill_n(scores, 8, 7.0f);
    status = s->policies->score(s->scorer, args, scores);
    said.assign(scores, scores + args->candidate_count);
    for (std::uint32_t i = 0; i < args->candidate_count; ++i)
      if (scores[i] > 0) return tg_plan_select(plan, args->candidates[i])->cookie = 5, TG_OK;
    plan->verdict = TG_PICK_FAIL;
    return TG_OK;
  }
  PickStatus pick() {
    const tg_pick_args args = fleet.args(request);
    return root->pick(request, tables.get(), args, fleet.sets(), out.plan);
  }
  PolicyNode& scorer() const { return *root->children().at(0); }
};

TEST_CASE_FIXTURE(Scored,
                  "a policy asks its scorer for all candidates in one call, and picks by what it says") {
  CHECK(pick() == PickStatus::select);
  CHECK(out.legs[0].slot == 2);
  CHECK(said == std::vector<float>{0, 0, 1, 0});
  CHECK(calls == 1);
}

TEST_CASE_FIXTURE(Scored, "a scorer sees the table that it built for the snapshot in force") {
  int mark = 0;
  build = [&](void** table) { return *table = &mark, TG_OK; };
  tables = root->build(fleet.snapshot());
  pick();
  CHECK(table_seen == &mark);
}

TEST_CASE_FIXTURE(Scored, "a scorer whose build failed is not asked, and the policy goes on without it") {
  build = [](void**) { return TG_E_INTERNAL; };
  tables = root->build(fleet.snapshot());
  CHECK(pick() == PickStatus::fail);
  CHECK(status == TG_E_UNAVAILABLE);
  CHECK(calls == 0);
  CHECK(said == std::vector<float>{0, 0, 0, 0});
  CHECK(root->build_failure().starts_with("scorer 'scripted'"));
}

TEST_CASE_FIXTURE(Scored,
                  "a scorer that fails or gives no score slips, not its policy; all scores are 0 then") {
  const auto with = [](float value, tg_status result) {
    return [value, result](const tg_pick_args* args, float* to) {
      std::fill_n(to, args->candidate_count, 0.5f);
      to[1] = value;
      return result;
    };
  };
  const std::tuple<float, tg_status, Slip> wrong[] = {
      {0.5f, TG_E_LIMIT, Slip::status},
      {std::nanf(""), TG_OK, Slip::score},
      {1.001f, TG_OK, Slip::score},
      {-0.001f, TG_OK, Slip::score},
      {std::numeric_limits<float>::infinity(), TG_OK, Slip::score}};
  for (const auto& [value, result, kind] : wrong) {
    root = make();
    tables = root->build(fleet.snapshot());
    score = with(value, result);
    CHECK(pick() == PickStatus::fail);
    CHECK(status == TG_E_INTERNAL);
    CHECK(said == std::vector<float>{0, 0, 0, 0});
    CHECK(scorer().containment().slips(kind) == 1);
    CHECK(root->containment().all_slips() == 0);
  }
  score = with(0.5f, TG_OK);
  CHECK(pick() == PickStatus::select);
}

TEST_CASE_FIXTURE(Scored, "a scorer that keeps slipping is quarantined alone") {
  score = [](const tg_pick_args*, float*) { return TG_E_INTERNAL; };
  for (int i = 0; i < 3; ++i) pick();
  CHECK(scorer().quarantined());
  CHECK_FALSE(root->quarantined());
  calls = 0;
  pick();
  CHECK(status == TG_E_UNAVAILABLE);
  CHECK(calls == 0);
}

TEST_CASE_FIXTURE(Scored, "a scorer hears of each leg of its policy once, without its cookie") {
  REQUIRE(pick() == PickStatus::select);
  root->complete(request, out.legs[0].cookie, out.legs[0].ticket, tg_completion{});
  CHECK(completes == std::vector<std::string>{"r/s/0", "r/5"});
}

TEST_CASE_FIXTURE(Scored, "what a scorer needs, its policy needs") {
  CHECK(root->traits().needs == TG_NEED_KEY);
}

TEST_CASE_FIXTURE(Scored, "a scorer that nobody offers is refused with its place") {
  const std::string config = R"({"hooks":0,"s":{"plugin":"nobody"}})";
  const auto refused = PolicyNode::create(**registry.find(TG_POLICY_INTERFACE, "scripted"), "r", config,
                                          environment, registry);
  REQUIRE_FALSE(refused);
  CHECK(refused.refusal().where == "/s/plugin");
  CHECK(refused.refusal().text.find("nobody") != std::string::npos);
}

TEST_CASE_FIXTURE(Scored, "a scorer is no policy of a route") {
  const auto refused =
      PolicyNode::create(**registry.find(TG_SCORER_INTERFACE, "scripted"), "r", "{}", environment, registry);
  REQUIRE_FALSE(refused);
  CHECK(refused.refusal().text.find("expected a component of tg.policy/1") != std::string::npos);
}

}  // namespace
}  // namespace tidegate::plugin
