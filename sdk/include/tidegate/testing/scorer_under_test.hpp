// tidegate/testing/scorer_under_test.hpp - runs a scorer, C or C++, as the gateway does, and watches it.
//
// What      score() builds the table when membership has changed and checks the contract: one number from 0
// to 1
//           for each candidate, no allocation where the program counts them. as_child() lets a policy under
//           test have it: host.scorers["/scorers/0"] = scorer.as_child();
// Threads   One.
// Ownership Host and fleet must outlive it, and it must outlive a policy that has it as a child.
// Errors    tg::Error when the scorer refuses (create, build, score); Breach when it breaks the contract.
#pragma once
#include "policy_under_test.hpp"

namespace tg::testing {

class ScorerUnderTest {
 public:
  ScorerUnderTest(FakeHost& host, Fleet& fleet, const tg_component& component) : host_(host), fleet_(fleet) {
    if (std::string_view(component.interface_id) != TG_SCORER_INTERFACE)
      throw Breach("not a tg.scorer/1 component");
    auto* functions = static_cast<const tg_scorer*>(component.functions);
    std::memcpy(&calls_, functions, std::min<size_t>(functions->size, sizeof calls_));
    if (!calls_.create || !calls_.destroy || !calls_.score)
      throw Breach("create, destroy and score are mandatory");
    if (!calls_.build != !calls_.release) throw Breach("build and release belong together");
    host.apply_schema(component.config_schema);
    auto error = detail::sized<tg_error>();
    detail::check(calls_.create(host.get(), host.config_text(), &self_, &error), error, "create");
  }
  ScorerUnderTest(FakeHost& host, Fleet& fleet, const tg_plugin* plugin, std::string_view name)
      : ScorerUnderTest(host, fleet, PolicyUnderTest::component_of(plugin, name)) {}
  ScorerUnderTest(const ScorerUnderTest&) = delete;
  ScorerUnderTest& operator=(const ScorerUnderTest&) = delete;
  ~ScorerUnderTest() {
    drop_table();
    calls_.destroy(self_);
  }

  // One score for each candidate: of a plain fleet, for each worker that is ready, by slot.
  std::vector<float> score(RequestSpec spec = {}) {
    FakeRequest request(std::move(spec));
    auto view = fleet_.view();
    candidates_.collect(*view, request.spec());
    auto args = candidates_.arguments(request, view->snapshot, ++last_id_, host_.now_ns());
    std::vector<float> scores(args.candidate_count, -1.0f);
    detail::check(ask(args, scores), detail::sized<tg_error>(), "score");
    return scores;
  }
  FakeHost::Score as_child() {
    return [this](const tg_pick_args& args, std::span<float> scores) { return ask(args, scores); };
  }
  void complete(const tg_completion& completion) {
    if (calls_.complete) calls_.complete(self_, &completion);
  }
  void* self() const noexcept { return self_; }

 private:
  tg_status ask(const tg_pick_args& args, std::span<float> scores) {
    if (auto view = fleet_.view(); !view_ || view->snapshot.epoch != view_->snapshot.epoch) rebuild(view);
    uint64_t before = allocations();
    tg_status status = calls_.score(self_, table_, &args, scores.data());
    if (allocations() != before) throw Breach("score allocated memory");
    for (size_t i = 0; status == TG_OK && i < scores.size(); ++i)
      if (!(scores[i] >= 0 && scores[i] <= 1))
        throw Breach("the score of slot " + std::to_string(args.candidates[i]) + " is not from 0 to 1");
    return status;
  }
  static uint64_t allocations() { return tg_testing_allocations ? tg_testing_allocations() : 0; }
  void rebuild(std::shared_ptr<const View> next) {
    void* table = nullptr;
    auto error = detail::sized<tg_error>();
    if (calls_.build) detail::check(calls_.build(self_, &next->snapshot, &table, &error), error, "build");
    drop_table();
    table_ = table, view_ = std::move(next);
  }
  void drop_table() {
    if (calls_.release && table_) calls_.release(self_, table_);
    table_ = nullptr;
  }

  FakeHost& host_;
  Fleet& fleet_;
  tg_scorer calls_{};
  void* self_ = nullptr;
  void* table_ = nullptr;
  std::shared_ptr<const View> view_;
  Candidates candidates_;
  uint64_t last_id_ = 0;
};

}  // namespace tg::testing
