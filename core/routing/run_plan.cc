// The execution of a plan: which leg starts when, and what its answer or failure means for the others.
//
// Invariants
//   1 legs_[plan_first_, plan_first_ + plan_count_) is the plan under way while plan_running_; legs of
//   earlier attempts before
//     it have ended or linger, and nothing that they report touches the plan.
//   2 A plan stops running at its first failure that is not ignored, before anything else is done about it;
//   so a leg that fails
//     because others are cancelled changes nothing.
//   3 start_ready() is not entered twice: a leg may answer or fail inside its own start.
#include <array>

#include "routing/exchange.h"
#include "routing/run.h"

namespace tidegate::routing {

Leg* Run::plan_leg(std::uint32_t index) noexcept {
  return index < plan_count_ ? legs_[plan_first_ + index].get() : nullptr;
}

void Run::begin_plan(const Choice& choice) noexcept {
  unpark();
  policy_ = choice.policy;
  if (choice.fallback && !fallback_ && route_metrics_) route_metrics_->fallbacks.add();
  fallback_ = choice.fallback;
  const tg_plan& plan = *choice.plan;
  reason_.clear();
  if (plan.reason.ptr && exchange_->explaining()) append_plain(reason_, {plan.reason.ptr, plan.reason.len});
  plan_first_ = static_cast<std::uint32_t>(legs_.size());
  plan_count_ = plan.leg_count;
  own_transform_ = plan.transform != 0;
  transform_ = plugin::PolicyNode::transforms(request_, plan);
  legs_.reserve(legs_.size() + plan.leg_count);
  for (std::uint32_t i = 0; i < plan.leg_count; ++i)
    legs_.push_back(std::make_unique<Leg>(*this, plan.legs[i], i, attempt_,
                                          *view_->members().worker(plan.legs[i].slot), *policy_, graph_));
  plan_running_ = true;
  start_ready();
}

void Run::start_ready() noexcept {
  if (starting_ || !plan_running_ || !exchange_) return;
  starting_ = true;
  std::uint32_t i = 0;
  while (i < plan_count_ && plan_running_ && exchange_) {
    Leg& leg = *plan_leg(i);
    if (!leg.waiting()) {
      ++i;
      continue;
    }
    if (i > 0) {
      const Leg& before = *plan_leg(i - 1);
      if (before.waiting()) break;
      if (leg.spec().start != TG_START_WITH_PREVIOUS && !before.answered() && !before.ended()) break;
    }
    bool captures_there = true;
    for (std::uint32_t c = 0; c < leg.spec().capture_count; ++c) {
      const Leg* from = plan_leg(i - leg.spec().captures[c].legs_back);
      captures_there &= from && from->ended();
    }
    if (!captures_there) break;
    const std::uint32_t plan = plan_first_;
    leg.start();
    if (exchange_ && leg.under_way()) exchange_->note_left(began_ns_);
    // A leg that fails in its own start may have brought a new plan: that one begins with its first leg.
    i = plan == plan_first_ ? i + 1 : 0;
  }
  starting_ = false;
  if (!plan_running_ || !exchange_) end_if_done();
}

void Run::leg_answered(Leg& leg) noexcept {
  if (leg.attempt() == attempt_ && plan_running_) start_ready();
}

void Run::leg_ended(Leg& leg) noexcept {
  if (leg.attempt() == attempt_ && plan_running_) start_ready();
  release_unneeded();
  end_if_done();
}

void Run::leg_sent() noexcept { release_unneeded(); }

void Run::leg_gone(Leg&) noexcept {
  release_unneeded();
  end_if_done();
}

void Run::leg_failed(Leg& leg, const LegFailure& failure) noexcept {
  if (!plan_running_ || leg.attempt() != attempt_) return end_if_done();
  const bool relayed = leg.spec().response == TG_RESPONSE_RELAY;
  if (leg.spec().on_failure == TG_FAILURE_IGNORE && !relayed) {
    start_ready();
    return end_if_done();
  }
  plan_running_ = false;
  last_failure_ = failure;
  const bool again = leg.spec().on_failure == TG_FAILURE_ANEW && may_retry(leg.worker()->slot()) &&
                     failure.code.code != api::errors::out_of_descriptors.code;  // nor elsewhere
  if (again) tried_.push_back(leg.worker()->slot());
  if (finish_relay()) return end_if_done();
  const std::string closing(committed_ ? relay_closing() : "");
  cancel_plan();
  if (!exchange_) return end_if_done();
  if (committed_) {
    exchange_->relay_broken(failure.code, failure.detail, closing);
    return;
  }
  if (!again) return fail_client(failure);
  ++attempt_;
  io_.metrics.retries.add();
  if (route_metrics_) route_metrics_->retries.add();
  attempt_plan();
}

bool Run::transform(const Leg& leg, std::string_view data, bool sse, bool last, std::string& out) noexcept {
  std::array<plugin::PolicyNode::PlanLeg, TG_MAX_LEGS> legs;
  for (std::uint32_t i = 0; i < plan_count_; ++i) {
    const std::string_view body = plan_leg(i)->drained();
    legs[i] = {plan_leg(i)->spec().ticket, {body.data(), body.size()}};
  }
  tg_transform_args args{};
  args.size = sizeof args;
  args.last = last;
  args.sse = sse;
  args.request = &request_;
  args.cookie = leg.spec().cookie;
  args.data = {data.data(), data.size()};
  return policy_->transform(request_, args, own_transform_, leg.spec().ticket, {legs.data(), plan_count_},
                            out);
}

// True: the relayed stream was complete but for its end, which the client has now. It is over for the other
// legs too.
bool Run::finish_relay() noexcept {
  if (!exchange_) return false;
  for (std::uint32_t i = 0; i < plan_count_; ++i) {
    if (!plan_leg(i)->said_all()) continue;
    plan_leg(i)->finish();
    cancel_plan();
    return true;
  }
  return false;
}

// Ends what is under way: legs that have not begun never will, others are cut off as their cancel rules say.
void Run::cancel_plan() noexcept {
  plan_running_ = false;
  for (std::uint32_t i = 0; i < plan_count_; ++i) plan_leg(i)->cancel();
}

}  // namespace tidegate::routing
