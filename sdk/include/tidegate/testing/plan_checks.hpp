// tidegate/testing/plan_checks.hpp - candidates of a toy fleet, and what a plan must keep to.
//
// What      Candidates makes pick arguments; check_plan() holds a plan against the contract (plan.h).
// Threads   One.
// Ownership Arguments point into Candidates, the request and the view.
// Errors    Breach says which rule was broken, and by what.
#pragma once
#include <stdexcept>

#include "fake_request.hpp"
#include "fleet.hpp"

namespace tg::testing {

// The policy broke the contract; what() says how.
class Breach : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

struct Outcome {
  uint32_t outcome = TG_OUTCOME_OK, http_status = 200;
  uint32_t prompt_tokens = TG_NONE, cached_tokens = TG_NONE, output_tokens = TG_NONE;
  uint64_t ttft_us = 0, total_us = 0;
};

struct Picked {
  tg_status status = TG_OK;
  tg_plan plan{};  // its legs pointer is not valid any more: see legs
  std::vector<tg_leg> legs;
  std::string reason;
  uint64_t id = 0;
  std::shared_ptr<FakeRequest> request;  // owns what the legs point to
  std::shared_ptr<const View> view;
  bool finished = false;

  bool selected() const noexcept { return status == TG_OK && plan.verdict == TG_PICK_SELECT; }
  uint32_t slot() const noexcept {  // of the relayed leg
    for (auto& leg : legs)
      if (leg.response == TG_RESPONSE_RELAY) return leg.slot;
    return TG_NONE;
  }
};

// Ready workers of one model. Stage ANY: those of role ANY, or all of them in a fleet that has none.
class Candidates {
 public:
  void collect(const View& view, const RequestSpec& spec) {
    for (auto& slots : by_role_) slots.clear();
    for (auto& info : view.info) {
      if (tg::view(info.models[0]) != spec.model) continue;
      if (tg_live_get(&tg_live_at(&view.snapshot, info.slot)->state) != TG_WORKER_READY) continue;
      if (std::find(spec.exclude.begin(), spec.exclude.end(), info.slot) != spec.exclude.end()) continue;
      by_role_[info.role].push_back(info.slot);
    }
    chosen_ = by_role_[spec.stage];
    if (spec.stage == TG_ROLE_ANY && chosen_.empty()) {
      for (auto& slots : by_role_) chosen_.insert(chosen_.end(), slots.begin(), slots.end());
      std::sort(chosen_.begin(), chosen_.end());
    }
    for (uint32_t role = 0; role < TG_ROLE_COUNT; ++role)
      lists_[role] = {by_role_[role].data(), static_cast<uint32_t>(by_role_[role].size()), 0};
  }
  bool has(uint32_t slot) const {
    for (auto& slots : by_role_)
      if (std::binary_search(slots.begin(), slots.end(), slot)) return true;
    return false;
  }
  tg_pick_args arguments(const FakeRequest& request, const tg_snapshot& snapshot, uint64_t id,
                         uint64_t now) const {
    const RequestSpec& spec = request.spec();
    tg_pick_args a{};
    a.size = sizeof a, a.flags = (spec.stream ? TG_PICK_STREAM : 0) | (spec.explain ? TG_PICK_EXPLAIN : 0), a.attempt = spec.attempt,
    a.stage = spec.stage;
    a.prior_slot = spec.prior_slot, a.candidates = chosen_.data();
    a.candidate_count = static_cast<uint32_t>(chosen_.size());
    a.snapshot = &snapshot, a.by_role = lists_.data();
    a.model = str(spec.model), a.key = str(spec.key), a.path = str(spec.path), a.body = str(spec.body);
    a.spans = request.spans().data(), a.span_count = static_cast<uint32_t>(request.spans().size());
    a.prompt_tokens_est = spec.prompt_tokens, a.max_new_tokens = spec.max_new_tokens, a.batch = 1;
    a.request_id = id, a.key_hash = std::hash<std::string>()(spec.key), a.now_ns = now,
    a.request = request.handle();
    return a;
  }

 private:
  std::array<std::vector<uint32_t>, TG_ROLE_COUNT> by_role_;
  std::array<tg_slots, TG_ROLE_COUNT> lists_{};
  std::vector<uint32_t> chosen_;
};

inline void check_captures(const Picked& picked, uint32_t at) {
  const tg_leg& leg = picked.legs[at];
  for (uint32_t c = 0; c < leg.capture_count; ++c) {
    uint32_t back = leg.captures[c].legs_back;
    if (back == 0 || back > at)
      throw Breach("leg " + std::to_string(at) + " captures from a leg that is not before it");
    uint32_t from = at - back;
    if (picked.legs[from].response != TG_RESPONSE_DRAIN)
      throw Breach("leg " + std::to_string(at) + " captures from leg " + std::to_string(from) +
                   ", which is not drained");
    if (picked.legs[from + 1].start != TG_START_AFTER_PREVIOUS)
      throw Breach("leg " + std::to_string(at) + " captures from leg " + std::to_string(from) +
                   ", which may not have answered yet: leg " + std::to_string(from + 1) + " starts with it");
  }
}

inline void check_plan(const Picked& picked, const Candidates& candidates) {
  if (picked.plan.verdict > TG_PICK_SHED)
    throw Breach("verdict " + std::to_string(picked.plan.verdict) + " is unknown");
  if (picked.plan.verdict != TG_PICK_SELECT) {
    if (picked.plan.leg_count) throw Breach("a plan that is not SELECT has legs");
    return;
  }
  if (picked.plan.leg_count < 1 || picked.plan.leg_count > TG_MAX_LEGS)
    throw Breach("a plan has 1 to 16 legs; this one has " + std::to_string(picked.plan.leg_count));
  int relayed = 0;
  for (uint32_t i = 0; i < picked.legs.size(); ++i) {
    const tg_leg& leg = picked.legs[i];
    if (!candidates.has(leg.slot))
      throw Breach("slot " + std::to_string(leg.slot) + " is not among the candidates");
    if (leg.generation && leg.generation != tg_info_of(&picked.view->snapshot, leg.slot)->generation)
      throw Breach("leg " + std::to_string(i) + " names another generation than its snapshot");
    relayed += leg.response == TG_RESPONSE_RELAY;
    check_captures(picked, i);
  }
  if (relayed != 1) throw Breach("exactly one leg is relayed; here " + std::to_string(relayed) + " are");
}

inline tg_completion completion_of(const Picked& picked, uint32_t at, const Outcome& how) {
  const tg_leg& leg = picked.legs[at];
  tg_completion c{};
  c.size = sizeof c, c.slot = leg.slot, c.attempt = picked.request->spec().attempt, c.leg = at;
  c.generation = tg_info_of(&picked.view->snapshot, leg.slot)->generation;
  c.outcome = how.outcome, c.status = how.outcome == TG_OUTCOME_OK ? TG_OK : TG_E_UNAVAILABLE;
  c.http_status = how.http_status, c.request_id = picked.id, c.cookie = leg.cookie, c.stage = leg.stage;
  c.prompt_tokens_est = picked.request->spec().prompt_tokens, c.prompt_tokens = how.prompt_tokens;
  c.cached_tokens = how.cached_tokens, c.output_tokens = how.output_tokens;
  c.ttft_us = how.ttft_us, c.total_us = how.total_us;
  return c;
}

}  // namespace tg::testing
