#include "plugin/plan_check.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "http/header_rules.h"

namespace tidegate::plugin {
namespace {

constexpr std::size_t oldest_leg = offsetof(tg_leg, ticket) + sizeof(tg_leg::ticket);  // of minor 0
constexpr std::uint32_t max_edits = 1024;  // of one kind on one leg; more is a wild number

bool sane(tg_str s) noexcept { return s.len == 0 || s.ptr != nullptr; }
bool sane_list(const void* list, std::uint32_t count) noexcept {
  return count == 0 || (list && count <= max_edits);
}

// What goes into a request line: no blank or control byte may end it early.
bool sane_target(tg_str s) noexcept {
  if (s.len == 0) return true;
  if (!s.ptr || s.ptr[0] != '/') return false;
  return std::all_of(s.ptr, s.ptr + s.len,
                     [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
}

bool token(tg_str s) noexcept {
  constexpr std::string_view more = "!#$%&'*+-.^_`|~";
  return s.len != 0 && s.ptr && std::all_of(s.ptr, s.ptr + s.len, [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  more.find(c) != more.npos;
         });
}

std::string_view text(tg_str s) noexcept { return {s.len ? s.ptr : "", s.len}; }

// What the head's writer would refuse is refused here: there it would cost the client its answer.
bool header_edit(const tg_edit& e) noexcept {
  if (!sane(e.name) || !sane(e.value)) return false;
  using Edit = http::HeaderEdit;
  return http::valid_edit({.kind = e.op == TG_EDIT_DROP ? Edit::Kind::drop : Edit::Kind::set,
                           .name = text(e.name),
                           .value = text(e.value)});
}

PlanFault check_edits(const tg_leg& leg, bool body_editable) noexcept {
  if (!sane_list(leg.edits, leg.edit_count) || !sane_list(leg.headers, leg.header_count))
    return {Slip::edit, "a list of edits without entries, or with over 1024"};
  if (leg.edit_count != 0 && !body_editable) return {Slip::edit, "an edit of a body that is no JSON object"};
  for (std::uint32_t i = 0; i < leg.edit_count; ++i) {
    const tg_edit& e = leg.edits[i];
    if (e.name.len == 0 || !e.name.ptr) return {Slip::edit, "an edit of the body without a name"};
    if (e.op != TG_EDIT_DROP && (e.value.len == 0 || !e.value.ptr))
      return {Slip::edit, "an edit that sets a member to no JSON text"};
  }
  for (std::uint32_t i = 0; i < leg.header_count; ++i)
    if (!header_edit(leg.headers[i]))
      return {Slip::edit,
              "an edit of a header whose name is no token or the gateway's own, or whose value has "
              "control bytes"};
  if (!sane_target(leg.path))
    return {Slip::edit, "a path without / at its start, or with blanks or control bytes"};
  const tg_cancel& cancel = leg.cancel;
  if (cancel.method.len != 0 &&
      (!token(cancel.method) || cancel.path.len == 0 || !sane_target(cancel.path) || !sane(cancel.body)))
    return {Slip::edit, "a cancel action whose method, path or body can't be sent"};
  return {};
}

// A leg has answered for sure before a later one starts when the one right after it waits for it.
PlanFault check_captures(const tg_plan& plan, const tg_leg& leg, std::uint32_t index) noexcept {
  if (!sane_list(leg.captures, leg.capture_count))
    return {Slip::capture, "a list of captures without entries"};
  for (std::uint32_t i = 0; i < leg.capture_count; ++i) {
    const tg_capture& c = leg.captures[i];
    if (c.legs_back == 0 || c.legs_back > index)
      return {Slip::capture, "a capture from a leg that is not an earlier one"};
    const std::uint32_t from = index - c.legs_back;
    if (leg_at(plan, from)->response != TG_RESPONSE_DRAIN)
      return {Slip::capture, "a capture from a leg whose response is not drained"};
    if (leg_at(plan, from + 1)->start != TG_START_AFTER_PREVIOUS)
      return {Slip::capture, "a capture from a leg that may not have answered yet"};
    if (c.member.len == 0 || !c.member.ptr || !sane(c.into))
      return {Slip::capture, "a capture without a member's name"};
  }
  return {};
}

// Candidates ascend by contract; a parent that narrowed them in another order is looked through one by one.
bool listed(const std::uint32_t* slots, std::uint32_t count, std::uint32_t slot) noexcept {
  if (!slots) return false;
  return std::binary_search(slots, slots + count, slot) ||
         std::find(slots, slots + count, slot) != slots + count;
}

bool slot_allowed(const tg_leg& leg, const AllowedSlots& allowed) noexcept {
  // A worker of role ANY can play any part; one of another role only its own.
  const bool has = leg.stage == TG_ROLE_ANY ? allowed.slots.contains(leg.slot)
                                            : allowed.slots.contains(leg.slot, leg.stage) ||
                                                  allowed.slots.contains(leg.slot, TG_ROLE_ANY);
  if (!has) return false;
  if (!allowed.narrowed) return true;
  const tg_pick_args& args = allowed.args;
  const bool among = listed(args.candidates, args.candidate_count, leg.slot);
  if (leg.stage == TG_ROLE_ANY || leg.stage == args.stage) return among;
  if (among && args.stage == TG_ROLE_ANY) return true;
  return args.by_role && listed(args.by_role[leg.stage].slots, args.by_role[leg.stage].count, leg.slot);
}

void use_defaults(tg_leg& leg, std::uint32_t index) noexcept {
  if (index == 0) leg.start = TG_START_WITH_PREVIOUS;  // it has none
  if (leg.start > TG_START_AFTER_PREVIOUS) leg.start = TG_START_AFTER_PREVIOUS;
  if (leg.response > TG_RESPONSE_DISCARD) leg.response = TG_RESPONSE_DISCARD;
  if (leg.on_failure > TG_FAILURE_ANEW) leg.on_failure = TG_FAILURE_FAIL;
  if (leg.cancel.when > TG_CANCEL_AFTER_FIRST_ITEM) leg.cancel.when = TG_CANCEL_AT_ONCE;
  if (leg.stage >= TG_ROLE_COUNT) leg.stage = TG_ROLE_ANY;
}

PlanFault check_leg(const tg_plan& plan, tg_leg& leg, std::uint32_t index,
                    const AllowedSlots& allowed) noexcept {
  // Older plugins fill what they know of; the rest was zeroed by tg_plan_add() over the whole stride.
  if (leg.size < oldest_leg || leg.size > plan.leg_stride)
    return {Slip::leg, "a leg that was counted but not added with tg_plan_add()"};
  use_defaults(leg, index);
  if (!slot_allowed(leg, allowed)) return {Slip::slot, "a slot that is not among the candidates"};
  if (leg.generation != 0) {
    const tg_worker_info* info =
        allowed.args.snapshot ? tg_info_of(allowed.args.snapshot, leg.slot) : nullptr;
    if (!info || info->generation != leg.generation)
      return {Slip::slot, "a generation that is not the snapshot's"};
  }
  if (leg.stage == TG_ROLE_ANY && allowed.args.stage < TG_ROLE_COUNT) leg.stage = allowed.args.stage;
  if (leg.edit_count | leg.header_count | leg.path.len | leg.cancel.method.len) {
    if (const PlanFault fault = check_edits(leg, allowed.body_editable)) return fault;
  }
  if (leg.capture_count == 0) return {};
  if (!allowed.body_editable) return {Slip::capture, "a capture into a body that is no JSON object"};
  return check_captures(plan, leg, index);
}

void drop_legs(tg_plan& plan) noexcept {
  const std::uint32_t used = std::min<std::uint32_t>(plan.leg_count, TG_MAX_LEGS);
  for (std::uint32_t i = 0; i < used; ++i) leg_at(plan, i)->size = 0;
  plan.leg_count = 0;
}

}  // namespace

// A leg that the policy counts without having added it must not be read as one: its size says so. Only the
// legs of the pick before can have a size, since every leg gets one by being counted.
PlanFrame open_plan(tg_plan& plan) noexcept {
  drop_legs(plan);
  plan.verdict = TG_PICK_FAIL;
  plan.retry_after_ms = 0;
  plan.transform = 0;
  plan.reason = {nullptr, 0};
  return {plan.legs, plan.leg_stride};
}

PlanFault check_plan(tg_plan& plan, const PlanFrame& frame, const AllowedSlots& allowed) noexcept {
  if (plan.legs != frame.legs || plan.leg_stride != frame.stride) {
    plan.legs = frame.legs;
    plan.leg_stride = frame.stride;
    return {Slip::leg, "the plan's array of legs was exchanged"};
  }
  if (plan.verdict > TG_PICK_SHED) return {Slip::verdict, "a verdict that this gateway does not know"};
  if (!sane(plan.reason)) return {Slip::verdict, "a reason without its text"};
  if (plan.verdict != TG_PICK_SELECT) {
    drop_legs(plan);
    return {};
  }
  if (plan.leg_count == 0 || plan.leg_count > TG_MAX_LEGS) return {Slip::leg_count, "expected 1 to 16 legs"};
  std::uint32_t relayed = 0;
  for (std::uint32_t i = 0; i < plan.leg_count; ++i) {
    tg_leg& leg = *leg_at(plan, i);
    if (const PlanFault fault = check_leg(plan, leg, i, allowed)) return fault;
    relayed += leg.response == TG_RESPONSE_RELAY;
  }
  if (relayed != 1) return {Slip::relay, "expected exactly one leg that is relayed"};
  return {};
}

}  // namespace tidegate::plugin
