// tidegate/testing/policy_under_test.hpp - runs a policy, C or C++, as the gateway does, and watches it.
//
// What      pick() builds the table when membership has changed, counts load at selection, and checks the
// contract:
//           slots among the candidates, 1 to 16 legs, exactly one relayed, captures from earlier drained
//           legs, no plan without SELECT, no allocation in pick or complete where the program counts them
//           (testing/allocations.hpp). finish() completes every leg once; learn() hands over what picks
//           remembered.
// Threads   One.
// Ownership Host and fleet must outlive it.
// Errors    tg::Error when the policy refuses (create, build); Breach when it breaks the contract.
#pragma once
#include "../handles.hpp"
#include "fake_host.hpp"
#include "plan_checks.hpp"

// Number of allocations so far; absent unless the program includes testing/allocations.hpp in one of its
// sources.
extern "C" [[gnu::weak]] uint64_t tg_testing_allocations();

namespace tg::testing {

class PolicyUnderTest {
 public:
  PolicyUnderTest(FakeHost& host, Fleet& fleet, const tg_component& component) : host_(host), fleet_(fleet) {
    if (std::string_view(component.interface_id) != TG_POLICY_INTERFACE)
      throw Breach("not a tg.policy/1 component");
    auto* functions = static_cast<const tg_policy*>(component.functions);
    std::memcpy(&calls_, functions, std::min<size_t>(functions->size, sizeof calls_));
    if (!calls_.create || !calls_.destroy || !calls_.pick)
      throw Breach("create, destroy and pick are mandatory");
    if (!calls_.build != !calls_.release) throw Breach("build and release belong together");
    host.apply_schema(component.config_schema);
    traits.size = sizeof traits;
    auto error = detail::sized<tg_error>();
    detail::check(calls_.create(host.get(), host.config_text(), &traits, &self_, &error), error, "create");
  }
  PolicyUnderTest(FakeHost& host, Fleet& fleet, const tg_plugin* plugin, std::string_view name)
      : PolicyUnderTest(host, fleet, component_of(plugin, name)) {}
  PolicyUnderTest(const PolicyUnderTest&) = delete;
  PolicyUnderTest& operator=(const PolicyUnderTest&) = delete;
  ~PolicyUnderTest() {
    drop_table();
    calls_.destroy(self_);
  }
  static const tg_component& component_of(const tg_plugin* plugin, std::string_view name) {
    for (uint32_t i = 0; i < plugin->component_count; ++i) {
      auto* at = reinterpret_cast<const char*>(plugin->components) + size_t{i} * plugin->component_stride;
      if (auto* c = reinterpret_cast<const tg_component*>(at); c->name == name) return *c;
    }
    throw Error(TG_E_NOT_FOUND, "", "the plugin has no component '" + std::string(name) + "'");
  }

  tg_policy_traits traits{};

  Picked pick(RequestSpec spec = {}) {
    if (auto view = fleet_.view(); !view_ || view->snapshot.epoch != view_->snapshot.epoch) rebuild();
    Picked picked;
    picked.request = std::make_shared<FakeRequest>(std::move(spec));
    picked.view = view_, picked.id = ++last_id_;
    candidates_.collect(*view_, picked.request->spec());
    tg_leg legs[TG_MAX_LEGS];
    picked.plan = {sizeof(tg_plan), TG_PICK_FAIL, 0, sizeof(tg_leg), legs, 0, 0, {}};
    auto args = candidates_.arguments(*picked.request, view_->snapshot, picked.id, host_.now_ns());
    uint64_t before = allocations();
    picked.status = calls_.pick(self_, table_, &args, &picked.plan);
    if (allocations() != before) throw Breach("pick allocated memory");
    if (picked.status != TG_OK) return picked;
    picked.legs.assign(legs, legs + std::min<uint32_t>(picked.plan.leg_count, TG_MAX_LEGS));
    picked.reason = tg::view(picked.plan.reason);
    check_plan(picked, candidates_);
    for (auto& leg : picked.legs) count(leg.slot, tokens_of(picked), +1);
    return picked;
  }
  // Ends every leg of a pick, in order, with the same outcome.
  void finish(Picked& picked, const Outcome& how = {}) {
    if (picked.finished) throw Error(TG_E_INVALID, "", "this pick was finished before");
    picked.finished = true;
    if (table_) rebuild();  // the pick's table is gone by then: who keeps a pointer into it finds out
    for (uint32_t i = 0; i < picked.legs.size(); ++i) {
      count(picked.legs[i].slot, tokens_of(picked), -1);
      auto completion = completion_of(picked, i, how);
      uint64_t before = allocations();
      if (calls_.complete) calls_.complete(self_, &completion);
      if (allocations() != before) throw Breach("complete allocated memory");
    }
  }
  // Hands remembered records to learn(), and rebuilds if it or the host's rebuild() was asked to.
  void learn() {
    std::vector<std::vector<uint64_t>> aligned;
    std::vector<tg_record> records;
    for (auto& bytes : host_.take_remembered()) {
      auto& words = aligned.emplace_back((bytes.size() + 7) / 8);
      std::memcpy(words.data(), bytes.data(), bytes.size());
      records.push_back({words.data(), static_cast<uint32_t>(bytes.size()), 0});
    }
    uint32_t wanted = host_.take_rebuild();
    if (calls_.learn && !records.empty())
      calls_.learn(self_, records.data(), static_cast<uint32_t>(records.size()), &wanted);
    if (wanted) rebuild();
  }
  void rebuild() {
    auto next = fleet_.view();
    void* table = nullptr;
    auto error = detail::sized<tg_error>();
    if (calls_.build) detail::check(calls_.build(self_, &next->snapshot, &table, &error), error, "build");
    drop_table();
    table_ = table, view_ = std::move(next);
  }
  std::string describe() {
    Collect out;
    if (!calls_.describe || calls_.describe(self_, out.sink()) != TG_OK) return "";
    return out.take();
  }
  void adopt(PolicyUnderTest& previous) {
    if (!calls_.adopt) throw Breach("this policy adopts nothing");
    detail::check(calls_.adopt(self_, previous.self_), detail::sized<tg_error>(), "adopt");
  }
  const tg_policy& functions() const noexcept { return calls_; }
  void* self() const noexcept { return self_; }
  FakeHost& host() noexcept { return host_; }

 private:
  static uint64_t allocations() { return tg_testing_allocations ? tg_testing_allocations() : 0; }
  void drop_table() {
    if (calls_.release && table_) calls_.release(self_, table_);
    table_ = nullptr;
  }
  static uint32_t tokens_of(const Picked& picked) {
    uint32_t tokens = picked.request->spec().prompt_tokens;
    return tokens == TG_NONE ? 0 : tokens;
  }
  void count(uint32_t slot, uint32_t tokens, int sign) {
    auto& live = fleet_.live(slot);
    Fleet::put(&live.inflight, live.inflight + static_cast<uint32_t>(sign));
    Fleet::put(&live.inflight_tokens, live.inflight_tokens + static_cast<uint32_t>(sign) * tokens);
  }

  FakeHost& host_;
  Fleet& fleet_;
  tg_policy calls_{};
  void* self_ = nullptr;
  void* table_ = nullptr;
  std::shared_ptr<const View> view_;
  Candidates candidates_;
  uint64_t last_id_ = 0;
};

}  // namespace tg::testing
