// The request side of policy nodes: guarded picks, tickets, completions.
//
// Who is owed a complete().  A plan that a child hands to its parent carries a ticket a leg: (child, its
// cookie, the ticket of the child's own child below). The parent's plan claims tickets by copying legs. When
// the root's plan is final, tickets that it does not reach end in DROPPED at once; the others end with their
// leg: the root's complete() first, then each child's down the chain.
#include <algorithm>
#include <new>

#include "plugin/plan_check.h"
#include "plugin/policy_node.h"

namespace tidegate::plugin {
namespace {

tg_completion dropped(const Ticket& ticket, const tg_pick_args& args) noexcept {
  tg_completion c{};
  c.size = sizeof c;
  c.slot = ticket.slot;
  c.generation = ticket.generation;
  c.attempt = args.attempt;
  c.leg = ticket.leg;
  c.outcome = TG_OUTCOME_DROPPED;
  c.status = TG_E_CANCELLED;
  c.request_id = args.request_id;
  c.cookie = ticket.cookie;
  c.prompt_tokens_est = args.prompt_tokens_est;
  c.prompt_tokens = c.cached_tokens = c.output_tokens = TG_NONE;
  c.stage = ticket.stage;
  return c;
}

std::uint32_t generation_of(const tg_leg& leg, const tg_pick_args& args) noexcept {
  if (leg.generation != 0 || !args.snapshot) return leg.generation;
  const tg_worker_info* info = tg_info_of(args.snapshot, leg.slot);
  return info ? info->generation : 0;
}

}  // namespace

PickStatus PolicyNode::pick(tg_request& request, const TableSet* tables, const tg_pick_args& args,
                            const SlotSets& slots, tg_plan& plan) noexcept {
  request.begin_pick(tables, &slots, &args);
  const PickStatus status = call_pick(request, args, plan);
  const bool selected = status == PickStatus::select;
  if (request.ticket_count_ != 0) settle(request, args, plan, selected);
  if (selected) request.open_legs_ += plan.leg_count;
  request.end_pick();
  return status;
}

bool PolicyNode::find_table(const tg_request& request, const void*& table) const noexcept {
  const Table* found = request.tables_ ? request.tables_->find(index_) : nullptr;
  if (found) table = found->get();
  return found || !component_.policy.build;
}

PickStatus PolicyNode::call_pick(tg_request& request, const tg_pick_args& args, tg_plan& plan) noexcept {
  const PlanFrame frame = open_plan(plan);
  if (quarantined()) [[unlikely]]
    return PickStatus::quarantined;
  const void* table = nullptr;
  if (!find_table(request, table)) [[unlikely]]
    return PickStatus::slip;  // counted when build() failed
  const std::uint32_t tickets_before = request.ticket_count_;
  const tg_status status = containment_->request_call(
      Function::pick, [&] { return component_.policy.pick(self_, table, &args, &plan); });
  if (status == call_skipped) return PickStatus::quarantined;
  if (status == call_threw) return PickStatus::slip;
  if (status != TG_OK) {
    containment_->slip(Slip::status, Function::pick, "pick() returned a failure");
    return PickStatus::slip;
  }
  if (plan.transform != 0 && plan.verdict == TG_PICK_SELECT && !component_.policy.transform) {
    containment_->slip(Slip::relay, Function::pick, "a plan with transform, of a policy without transform()");
    return PickStatus::slip;
  }
  const AllowedSlots allowed{*request.slots_, args, &args != request.root_args_, request.body_editable()};
  const PlanFault fault = check_plan(plan, frame, allowed);
  if (fault) {
    containment_->slip(fault.kind, Function::pick, fault.text);
    return PickStatus::slip;
  }
  return judge(request, args, plan, tickets_before);
}

PickStatus PolicyNode::judge(tg_request& request, const tg_pick_args&, tg_plan& plan,
                             std::uint32_t tickets_before) noexcept {
  if (!claim_tickets(request, plan, tickets_before)) {
    containment_->slip(Slip::ticket, Function::pick,
                       "a leg's ticket is not one of a child's leg of this pick, unchanged");
    return PickStatus::slip;
  }
  containment_->went_well();
  switch (plan.verdict) {
    case TG_PICK_SELECT: return PickStatus::select;
    case TG_PICK_WAIT: return PickStatus::wait;
    case TG_PICK_SHED: return PickStatus::shed;
    default: return PickStatus::fail;
  }
}

// Claims are not undone when a later leg is at fault: the plan is lost anyway, and settle() looks at what the
// final plan reaches.
bool PolicyNode::claim_tickets(tg_request& request, const tg_plan& plan,
                               std::uint32_t tickets_before) noexcept {
  for (std::uint32_t i = 0; i < plan.leg_count; ++i) {
    const tg_leg& leg = *leg_at(plan, i);
    if (leg.ticket == 0) continue;
    Ticket* ticket = leg.ticket > tickets_before ? request.ticket(leg.ticket) : nullptr;
    if (!ticket || !ticket->open || ticket->claimed || ticket->slot != leg.slot) return false;
    ticket->claimed = true;
  }
  return true;
}

tg_status PolicyNode::pick_for_parent(const tg_pick_args& args, const tg_plan** out) noexcept {
  tg_request& request = *const_cast<tg_request*>(args.request);
  if (!request.slots_) return TG_E_INVALID;  // no pick is going on
  tg_leg legs[TG_MAX_LEGS];
  tg_plan plan{};
  plan.size = sizeof plan;
  plan.legs = legs;
  plan.leg_stride = sizeof(tg_leg);
  plan.leg_count = TG_MAX_LEGS;  // all are unset, see open_plan()
  const PickStatus status = call_pick(request, args, plan);
  if (status == PickStatus::quarantined) return TG_E_UNAVAILABLE;
  if (status == PickStatus::slip) return TG_E_INTERNAL;
  *out = hand_over(request, args, plan);
  return *out ? TG_OK : TG_E_LIMIT;
}

tg_status PolicyNode::score_for_parent(const tg_pick_args& args, float* scores) noexcept {
  if (!args.request->slots_) return TG_E_INVALID;  // no pick is going on
  std::fill_n(scores, args.candidate_count, 0.0f);
  const void* table = nullptr;
  if (quarantined() || !find_table(*args.request, table)) return TG_E_UNAVAILABLE;
  const tg_status status = containment_->request_call(
      Function::score, [&] { return component_.scorer.score(self_, table, &args, scores); });
  // NaN is not in the range either.
  const bool sane = status == TG_OK && std::all_of(scores, scores + args.candidate_count,
                                                   [](float s) { return s >= 0.0f && s <= 1.0f; });
  if (sane) {
    containment_->went_well();
    return TG_OK;
  }
  if (status == TG_OK)
    containment_->slip(Slip::score, Function::score, "a score that is not from 0 to 1");
  else if (status != call_threw && status != call_skipped)
    containment_->slip(Slip::status, Function::score, "score() returned a failure");
  std::fill_n(scores, args.candidate_count, 0.0f);
  return status == call_skipped ? TG_E_UNAVAILABLE : TG_E_INTERNAL;
}

// Copies a child's plan to where it lives as long as the request, with tickets on its legs. Cookies stay
// behind: the leg's is the parent's to use.
const tg_plan* PolicyNode::hand_over(tg_request& request, const tg_pick_args& args,
                                     const tg_plan& plan) noexcept {
  void* memory = request.arena_.allocate(sizeof(tg_plan), alignof(tg_plan));
  void* legs =
      plan.leg_count ? request.arena_.allocate(sizeof(tg_leg) * plan.leg_count, alignof(tg_leg)) : nullptr;
  bool whole = memory && (legs || plan.leg_count == 0);
  tg_leg* to = static_cast<tg_leg*>(legs);
  const std::uint32_t number = ++request.plans_handed_;
  for (std::uint32_t i = 0; i < plan.leg_count; ++i) {
    const tg_leg& leg = *leg_at(plan, i);
    const Ticket ticket{.node = this,
                        .cookie = leg.cookie,
                        .below = leg.ticket,
                        .slot = leg.slot,
                        .generation = generation_of(leg, args),
                        .leg = i,
                        .stage = leg.stage,
                        .plan = number,
                        .plan_legs = plan.leg_count,
                        .transform = plan.transform != 0 && leg.response == TG_RESPONSE_RELAY,
                        .open = true};
    const std::uint64_t id = request.issue(ticket);
    if (id == 0) call_complete(dropped(ticket, args));  // settle() can't know of it
    whole = whole && id != 0;
    if (!whole) continue;
    to[i] = leg;
    to[i].cookie = 0;
    to[i].ticket = id;
  }
  if (!whole) return nullptr;
  auto* handed = new (memory) tg_plan(plan);
  handed->legs = to;
  handed->leg_stride = sizeof(tg_leg);
  return handed;
}

void PolicyNode::settle(tg_request& request, const tg_pick_args& args, const tg_plan& plan,
                        bool selected) noexcept {
  for (std::uint32_t i = 0; selected && i < plan.leg_count; ++i) {
    std::uint64_t id = leg_at(plan, i)->ticket;
    while (Ticket* ticket = request.ticket(id)) {
      ticket->taken = true;
      id = ticket->below;
    }
  }
  // Tickets of earlier plans of this request are either closed or taken.
  for (std::uint32_t id = 1; id <= request.ticket_count_; ++id) {
    Ticket& ticket = *request.ticket(id);
    if (!ticket.open || ticket.taken) continue;
    ticket.open = false;
    ticket.node->call_complete(dropped(ticket, args));
  }
}

void PolicyNode::complete(tg_request& request, std::uint64_t cookie, std::uint64_t ticket_id,
                          const tg_completion& given) noexcept {
  tg_completion completion = given;
  completion.cookie = cookie;
  call_complete(completion);
  for (std::uint64_t id = ticket_id;;) {
    Ticket* ticket = request.ticket(id);
    if (!ticket || !ticket->open) break;
    ticket->open = false;
    completion.cookie = ticket->cookie;
    completion.leg = ticket->leg;
    completion.stage = ticket->stage;
    ticket->node->call_complete(completion);
    id = ticket->below;
  }
  if (request.open_legs_ != 0) --request.open_legs_;
}

// A node's scorers hear of its legs as well; what it noted in a leg's cookie is not theirs.
void PolicyNode::call_complete(const tg_completion& completion) noexcept {
  for (const auto& child : children_) {
    if (child->component_.kind != Kind::scorer || !child->component_.policy.complete) continue;
    tg_completion theirs = completion;
    theirs.cookie = 0;
    child->call_complete(theirs);
  }
  if (!component_.policy.complete) return;
  // Other quarantined instances get theirs: their counts would leak. One that hangs would hang this thread
  // too.
  if (containment_->quarantine() == Quarantine::stall) return;
  containment_->request_call(Function::complete, [&] {
    component_.policy.complete(self_, &completion);
    return TG_OK;
  });
}

}  // namespace tidegate::plugin
