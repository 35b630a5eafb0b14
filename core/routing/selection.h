// What: one choice: candidates from the view, the policy's pick, the checks on what it chose, the fallback.
//   The first pick sees the view's own lists. Only when it names a worker that was tried or is not ready any
//   more, lists without such workers are made, in memory of this loop, and it is asked again.
// Threads: one selector a loop.
// Ownership: the chosen plan's legs lie in the selector until the next choice: copy them.
// Errors: a Choice says what became of it. Every leg of a plan that is not handed out has had its complete().
#pragma once

#include <tidegate/plugin.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "plugin/policy_node.h"
#include "routing/view.h"

namespace tidegate::routing {

struct Choice {
  enum class Kind : std::uint8_t { select, wait, fail, shed, no_candidates };
  Kind kind = Kind::fail;
  bool fallback = false;                 // the route's fallback chose
  plugin::PolicyNode* policy = nullptr;  // who chose; owed the complete() of each leg
  const tg_plan* plan = nullptr;         // of select, wait, fail, shed
};

class Selector {
 public:
  // `args` has everything but candidates, by_role, snapshot and request, which are filled in here.
  Choice choose(const View& view, const Target& target, tg_request& request, tg_pick_args& args,
                std::span<const std::uint32_t> tried) noexcept;
  // Another choice can find somebody: each role that the route's policy needs has a ready worker that was
  // neither tried nor is `failed`.
  static bool others_left(const View& view, const Target& target, std::span<const std::uint32_t> tried,
                          std::uint32_t failed) noexcept;

 private:
  struct Lists {
    std::array<std::vector<std::uint32_t>, TG_ROLE_COUNT> slots;
    std::array<std::vector<std::uint64_t>, TG_ROLE_COUNT> bits;
    std::array<tg_slots, TG_ROLE_COUNT> abi{};
    plugin::SlotSets sets;
  };
  static std::uint32_t stage_of(const plugin::PolicyNode& node,
                                const std::array<tg_slots, TG_ROLE_COUNT>& lists) noexcept;
  void filter(const fleet::ModelEntry& model, const tg_snapshot& snapshot,
              std::span<const std::uint32_t> tried) noexcept;
  bool usable(const tg_plan& plan, const tg_snapshot& snapshot,
              std::span<const std::uint32_t> tried) const noexcept;
  void hand_back(plugin::PolicyNode& node, tg_request& request, const tg_pick_args& args) noexcept;

  Lists filtered_;
  tg_plan plan_{};
  std::array<tg_leg, TG_MAX_LEGS> legs_;
};

}  // namespace tidegate::routing
