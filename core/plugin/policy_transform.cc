// A relayed body on its way through the transform() of every policy that chose its leg and asked for it.
#include <algorithm>
#include <array>
#include <string>

#include "plugin/out_text.h"
#include "plugin/plan_check.h"
#include "plugin/policy_node.h"

namespace tidegate::plugin {
namespace {

struct StringOut {
  tg_out out;
  std::string* text;
  static void write(tg_out* self, tg_str piece) noexcept {
    reinterpret_cast<StringOut*>(self)->text->append(view(piece));
  }
};

struct Stage {
  PolicyNode* node;
  std::uint64_t cookie;
  std::uint32_t plan, legs;
};

}  // namespace

bool PolicyNode::transforms(tg_request& request, const tg_plan& plan) noexcept {
  if (plan.transform != 0) return true;
  for (std::uint32_t i = 0; i < plan.leg_count; ++i) {
    const tg_leg& leg = *leg_at(plan, i);
    if (leg.response != TG_RESPONSE_RELAY) continue;
    for (const Ticket* t = request.ticket(leg.ticket); t; t = request.ticket(t->below))
      if (t->transform) return true;
  }
  return false;
}

bool PolicyNode::transform(tg_request& request, tg_transform_args args, bool own, std::uint64_t ticket,
                           std::span<const PlanLeg> legs, std::string& out) noexcept {
  std::array<Stage, max_depth + 1> stages;
  std::size_t count = 0;
  if (own)
    stages[count++] = {this, args.cookie, 0,
                       static_cast<std::uint32_t>(std::min<std::size_t>(legs.size(), TG_MAX_LEGS))};
  for (const Ticket* t = request.ticket(ticket); t && count < stages.size(); t = request.ticket(t->below))
    if (t->transform) stages[count++] = {t->node, t->cookie, t->plan, t->plan_legs};
  std::string current;
  bool changed = false;
  while (count != 0) {
    const Stage& stage = stages[--count];
    // Legs of the root's plan where they stand; of a child's, where they stood in that child's plan.
    std::array<tg_str, TG_MAX_LEGS> earlier{};
    for (std::size_t i = 0; i < std::min<std::size_t>(legs.size(), TG_MAX_LEGS); ++i) {
      if (stage.plan == 0) earlier[i] = legs[i].drained;
      for (const Ticket* t = request.ticket(legs[i].ticket); t; t = request.ticket(t->below))
        if (stage.plan != 0 && t->plan == stage.plan) earlier[t->leg] = legs[i].drained;
    }
    args.earlier = earlier.data();
    args.earlier_count = stage.legs;
    args.cookie = stage.cookie;
    std::string written;
    if (stage.node->call_transform(args, written) != TG_OK) continue;  // its piece passes unchanged
    current = std::move(written);
    args.data = to_str(current);
    changed = true;
    if (current.empty() && args.last == 0) break;  // the piece is dropped
  }
  if (changed) out.append(current);
  return changed;
}

tg_status PolicyNode::call_transform(const tg_transform_args& args, std::string& out) noexcept {
  if (!component_.policy.transform) return TG_E_UNSUPPORTED;
  if (quarantined()) return TG_E_UNAVAILABLE;
  StringOut sink{{sizeof(tg_out), 0, &StringOut::write}, &out};
  const tg_status status = containment_->request_call(
      Function::transform, [&] { return component_.policy.transform(self_, &args, &sink.out); });
  if (status == TG_OK) return TG_OK;
  if (status == call_skipped) return TG_E_UNAVAILABLE;
  if (status != call_threw)
    containment_->slip(Slip::status, Function::transform, "transform() returned a failure");
  return status == call_threw ? TG_E_INTERNAL : status;
}

}  // namespace tidegate::plugin
