#include "routing/selection.h"

#include <algorithm>

namespace tidegate::routing {
namespace {

constexpr std::uint32_t no_stage = TG_ROLE_COUNT;
constexpr int max_rounds =
    4;  // picks on ever fewer workers; more means that the policy picks what it was not offered

bool contains(std::span<const std::uint32_t> slots, std::uint32_t slot) noexcept {
  return std::find(slots.begin(), slots.end(), slot) != slots.end();
}

std::uint32_t roles_of(const plugin::PolicyNode& node) noexcept {
  return node.traits().roles ? node.traits().roles : TG_ROLE_BIT(TG_ROLE_ANY);
}

}  // namespace

bool Selector::others_left(const View& view, const Target& target, std::span<const std::uint32_t> tried,
                           std::uint32_t failed) noexcept {
  const tg_snapshot& snapshot = view.members().snapshot();
  const std::uint32_t roles = roles_of(*target.route->policy);
  for (std::uint32_t role = 0; role < TG_ROLE_COUNT; ++role) {
    if ((roles & TG_ROLE_BIT(role)) == 0) continue;
    const auto& slots = target.model->slots[role];
    const bool left = std::any_of(slots.begin(), slots.end(), [&](std::uint32_t slot) {
      return slot != failed && !contains(tried, slot) &&
             tg_live_get(&tg_live_at(&snapshot, slot)->state) == TG_WORKER_READY;
    });
    if (!left) return false;
  }
  return true;
}

// The role whose list is the plain list of candidates; no_stage when a role that the policy needs has nobody.
std::uint32_t Selector::stage_of(const plugin::PolicyNode& node,
                                 const std::array<tg_slots, TG_ROLE_COUNT>& lists) noexcept {
  const std::uint32_t roles = roles_of(node);
  std::uint32_t stage = no_stage;
  for (std::uint32_t role = TG_ROLE_COUNT; role-- > 0;) {
    if ((roles & TG_ROLE_BIT(role)) == 0) continue;
    if (lists[role].count == 0) return no_stage;
    stage = role;
  }
  return stage;
}

void Selector::filter(const fleet::ModelEntry& model, const tg_snapshot& snapshot,
                      std::span<const std::uint32_t> tried) noexcept {
  filtered_.sets.word_count = model.sets.word_count;
  for (std::uint32_t role = 0; role < TG_ROLE_COUNT; ++role) {
    auto& slots = filtered_.slots[role];
    auto& bits = filtered_.bits[role];
    slots.clear();
    bits.assign(model.sets.word_count, 0);
    for (std::uint32_t slot : model.slots[role]) {
      if (tg_live_get(&tg_live_at(&snapshot, slot)->state) != TG_WORKER_READY) continue;
      if (contains(tried, slot)) continue;
      slots.push_back(slot);
      bits[slot / 64] |= std::uint64_t{1} << (slot % 64);
    }
    filtered_.abi[role] = {slots.data(), static_cast<std::uint32_t>(slots.size()), 0};
    filtered_.sets.words[role] = bits.data();
  }
}

bool Selector::usable(const tg_plan& plan, const tg_snapshot& snapshot,
                      std::span<const std::uint32_t> tried) const noexcept {
  for (std::uint32_t i = 0; i < plan.leg_count; ++i) {
    const tg_leg& leg = legs_[i];
    const tg_worker_live* live = tg_live_at(&snapshot, leg.slot);
    if (tg_live_get(&live->state) != TG_WORKER_READY) return false;
    if (leg.generation != 0 && leg.generation != tg_live_get(&live->generation)) return false;
    if (contains(tried, leg.slot)) return false;
  }
  return true;
}

// The plan will not be run: its legs end before they began.
void Selector::hand_back(plugin::PolicyNode& node, tg_request& request, const tg_pick_args& args) noexcept {
  for (std::uint32_t i = 0; i < plan_.leg_count; ++i) {
    const tg_leg& leg = legs_[i];
    tg_completion completion{};
    completion.size = sizeof completion;
    completion.slot = leg.slot;
    completion.generation = leg.generation;
    completion.attempt = args.attempt;
    completion.leg = i;
    completion.stage = leg.stage;
    completion.outcome = TG_OUTCOME_NEVER_SENT;
    completion.status = TG_E_UNAVAILABLE;
    completion.request_id = args.request_id;
    completion.prompt_tokens_est = args.prompt_tokens_est;
    completion.prompt_tokens = completion.cached_tokens = completion.output_tokens = TG_NONE;
    node.complete(request, leg.cookie, leg.ticket, completion);
  }
}

Choice Selector::choose(const View& view, const Target& target, tg_request& request, tg_pick_args& args,
                        std::span<const std::uint32_t> tried) noexcept {
  const fleet::ModelEntry& model = *target.model;
  const View::Tables& tables = view.tables(target.route_index);
  const tg_snapshot& snapshot = view.members().snapshot();
  plugin::PolicyNode* node = target.route->policy.get();
  const plugin::TableSet* table = tables.policy.get();
  Choice choice;
  args.size = sizeof args;
  args.snapshot = &snapshot;
  args.request = &request;
  bool filtering = !tried.empty();
  for (int round = 0; round < max_rounds; ++round) {
    if (filtering) filter(model, snapshot, tried);
    const auto& lists = filtering ? filtered_.abi : model.abi;
    const std::uint32_t stage = stage_of(*node, lists);
    if (stage == no_stage) {
      choice.kind = Choice::Kind::no_candidates;
      return choice;
    }
    args.stage = stage;
    args.by_role = lists.data();
    args.candidates = lists[stage].slots;
    args.candidate_count = lists[stage].count;
    plan_ = {.size = sizeof plan_,
             .verdict = TG_PICK_FAIL,
             .leg_count = 0,
             .leg_stride = sizeof(tg_leg),
             .legs = legs_.data()};
    choice.policy = node;
    choice.plan = &plan_;
    switch (node->pick(request, table, args, filtering ? filtered_.sets : model.sets, plan_)) {
      case plugin::PickStatus::wait: choice.kind = Choice::Kind::wait; return choice;
      case plugin::PickStatus::fail: choice.kind = Choice::Kind::fail; return choice;
      case plugin::PickStatus::shed: choice.kind = Choice::Kind::shed; return choice;
      case plugin::PickStatus::slip:
      case plugin::PickStatus::quarantined:
        if (choice.fallback) {
          choice.kind = Choice::Kind::fail;
          return choice;
        }
        choice.fallback = true;
        node = target.route->fallback.get();
        table = tables.fallback.get();
        continue;
      case plugin::PickStatus::select: break;
    }
    if (usable(plan_, snapshot, tried)) {
      choice.kind = Choice::Kind::select;
      return choice;
    }
    hand_back(*node, request, args);
    filtering = true;
  }
  choice.kind = Choice::Kind::no_candidates;
  return choice;
}

}  // namespace tidegate::routing
