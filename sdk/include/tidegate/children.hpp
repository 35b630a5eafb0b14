// tidegate/children.hpp - what a policy holds of the policies and scorers below it; made by tg::Config.
//
// What      Child picks, Chosen is what it picked, Scorer scores.
// Threads   pick() and score(): [request], during the parent's pick. Hot.
// Ownership The host's; they live as long as their parent, and what a child picked as long as the request.
// Errors    Nothing throws: a child that failed has chosen nothing, a scorer has nothing to say.
#pragma once
#include "host.hpp"

namespace tg {

// What a child picked. Legs live as long as the request.
class Chosen {
 public:
  Chosen() noexcept = default;
  explicit Chosen(const tg_plan* plan) noexcept : plan_(plan) {}
  bool selected() const noexcept { return plan_ && plan_->verdict == TG_PICK_SELECT && plan_->leg_count > 0; }
  uint32_t verdict() const noexcept { return plan_ ? plan_->verdict : static_cast<uint32_t>(TG_PICK_FAIL); }
  uint32_t size() const noexcept { return plan_ ? plan_->leg_count : 0; }
  const tg_leg& leg(uint32_t i) const noexcept {
    return *reinterpret_cast<const tg_leg*>(reinterpret_cast<const char*>(plan_->legs) +
                                            size_t{i} * plan_->leg_stride);
  }
  uint32_t slot() const noexcept { return selected() ? leg(0).slot : TG_NONE; }
  const tg_plan* plan() const noexcept { return plan_; }

 private:
  const tg_plan* plan_ = nullptr;
};

// A policy below this one. The host builds, releases and destroys it with its parent.
class Child {
 public:
  Child() noexcept = default;
  Child(const tg_host_policy* table, const tg_child* child, const tg_policy_traits& traits) noexcept
      : table_(table), child_(child), traits_(traits) {}
  explicit operator bool() const noexcept { return child_ != nullptr; }
  const tg_policy_traits& traits() const noexcept { return traits_; }
  // [request] hot. Nothing chosen when the child failed; args: tg::Request::args() or a changed copy of it.
  Chosen pick(const tg_pick_args& args) const noexcept {
    const tg_plan* plan = nullptr;
    if (!child_ || table_->pick(child_, &args, &plan) != TG_OK) return {};
    return Chosen(plan);
  }

 private:
  const tg_host_policy* table_ = nullptr;
  const tg_child* child_ = nullptr;
  tg_policy_traits traits_{};
};

// A scorer below this policy; the same ownership.
class Scorer {
 public:
  Scorer() noexcept = default;
  Scorer(const tg_host_policy* table, const tg_scorer_child* child) noexcept : table_(table), child_(child) {}
  explicit operator bool() const noexcept { return child_ != nullptr; }
  // [request] hot. scores[i] from 0 to 1 for args.candidates[i]. False: it has nothing to say; all are 0.
  bool score(const tg_pick_args& args, std::span<float> scores) const noexcept {
    bool room = scores.size() >= args.candidate_count;
    return child_ && room && table_->score(child_, &args, scores.data()) == TG_OK;
  }

 private:
  const tg_host_policy* table_ = nullptr;
  const tg_scorer_child* child_ = nullptr;
};

}  // namespace tg
