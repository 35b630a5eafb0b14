// What: judges a plan that a policy filled: every rule of tidegate/plan.h that the executor relies
//   on. Enum values that nobody knows are set to their defaults on the way.
// Threads: [request], hot.
// Ownership: none.
// Errors: a PlanFault says which rule, with a fixed text; kind last_ is "none".
#pragma once

#include <tidegate/policy.h>

#include "plugin/containment.h"
#include "plugin/request.h"

namespace tidegate::plugin {

struct PlanFault {
  Slip kind = Slip::last_;
  const char* text = "";
  explicit operator bool() const noexcept { return kind != Slip::last_; }
};

// The plan as it was given to the policy; what it must not have changed.
struct PlanFrame {
  tg_leg* legs;
  std::uint32_t stride;
};
PlanFrame open_plan(tg_plan&) noexcept;  // empties a plan for a pick

// Which slots a leg may name: `slots` for a root. A child is held to its own arguments too, which its parent
// may have narrowed.
struct AllowedSlots {
  const SlotSets& slots;
  const tg_pick_args& args;
  bool narrowed;
  bool body_editable;
};
PlanFault check_plan(tg_plan&, const PlanFrame&, const AllowedSlots&) noexcept;

inline tg_leg* leg_at(const tg_plan& plan, std::uint32_t index) noexcept {
  return reinterpret_cast<tg_leg*>(reinterpret_cast<char*>(plan.legs) + std::size_t{index} * plan.leg_stride);
}

}  // namespace tidegate::plugin
