// What: one policy instance with the children that its create() asked for: creation, adoption,
//   tables, the guarded request calls, and who is owed which complete(). Calls on a root act for
//   the whole tree. A child may be a scorer: a node without children that scores instead of picking.
// Threads: create, adopt_from, build, drain_learn, describe: [control]. pick, complete, transform:
//   [request].
// Ownership: shared. When the last owner lets go of a root or of a TableSet elsewhere than on
//   [control], the end (release, destroy) is posted there. A TableSet keeps its root and its
//   snapshot; requests keep their root.
// Errors: create gives a Refusal; a node whose build failed does not pick from that set; request calls
//   never throw or allocate: a slip costs the request this policy, and the caller uses the fallback.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tidegate/plugin.h>

#include "plugin/containment.h"
#include "plugin/host.h"
#include "plugin/library.h"
#include "plugin/policy_tables.h"
#include "plugin/request.h"

// What a parent holds of a child; part of the child's node.
struct tg_child {
  tidegate::plugin::PolicyNode* node;
};
struct tg_scorer_child {
  tidegate::plugin::PolicyNode* node;
};

namespace tidegate::plugin {

class Registry;

enum class PickStatus {
  select,
  wait,
  fail,
  shed,        // the policy's verdict
  slip,        // it failed or answered nonsense: use the fallback
  quarantined  // it is out of service: use the fallback
};

struct Adoption {
  std::uint32_t adopted = 0, imported = 0, cold = 0;  // nodes
};

class PolicyNode final : private ChildPolicies, public std::enable_shared_from_this<PolicyNode> {
 public:
  static constexpr std::uint32_t max_depth = 8;
  using Created = Outcome<std::shared_ptr<PolicyNode>>;
  static Created create(const Component&, std::string instance, std::string config_json, HostEnvironment&,
                        Registry&, ContainmentLimits = {});
  ~PolicyNode();

  const Component& component() const noexcept { return component_; }
  const std::string& instance() const noexcept { return host_.instance(); }
  // needs: the component's, this instance's and all its children's. roles: this instance's.
  const tg_policy_traits& traits() const noexcept { return traits_; }
  const std::vector<std::shared_ptr<PolicyNode>>& children() const noexcept { return children_; }
  const Containment& containment() const noexcept { return *containment_; }
  bool quarantined() const noexcept { return containment_->quarantined(); }
  const std::vector<std::string>& unread_keys() const noexcept { return host_.unread_keys(); }

  // Before the first build. State of `previous` (a root) for nodes of the same component and instance name.
  Adoption adopt_from(PolicyNode& previous);
  // The snapshot stays alive until every table made from it was released.
  std::shared_ptr<const TableSet> build(const std::shared_ptr<const tg_snapshot>&);
  // Of the last build(): who failed in this tree and why; empty: nobody.
  std::string build_failure() const;
  // Hands what picks remembered to learn(). True: somebody asks for build() and a new publication.
  bool drain_learn();
  bool learns() const noexcept;  // somebody in this tree does
  std::string describe();        // a JSON object

  // args.request must be &request. After it nothing of children's picks is left open but what the plan took.
  // The plan's room for TG_MAX_LEGS legs is zeroed before its first use, and left alone between picks.
  // SELECT: exactly one complete() is owed for each leg of the plan, whatever becomes of it.
  PickStatus pick(tg_request& request, const TableSet*, const tg_pick_args&, const SlotSets&,
                  tg_plan&) noexcept;
  // The end of one leg: cookie and ticket are the leg's; completion.cookie is filled in here.
  void complete(tg_request& request, std::uint64_t cookie, std::uint64_t ticket,
                const tg_completion&) noexcept;
  // A parent's pick of this child, in the request of args; the plan lives as long as the request.
  tg_status pick_for_parent(const tg_pick_args&, const tg_plan**) noexcept;
  // The same of a scorer; all scores are 0 unless TG_OK.
  tg_status score_for_parent(const tg_pick_args&, float* scores) noexcept;
  // Whether the relayed leg's body passes through transform() of this root or of a policy below that chose
  // it.
  static bool transforms(tg_request& request, const tg_plan&) noexcept;
  // One leg of the plan under way, for transform().
  struct PlanLeg {
    std::uint64_t ticket;
    tg_str drained;
  };
  // Passes args.data through all of them, the innermost first; each sees its own plan's legs as `earlier`.
  // args: cookie and data of the relayed leg. False: nobody changed anything, and `out` is as it was.
  bool transform(tg_request& request, tg_transform_args args, bool own, std::uint64_t ticket,
                 std::span<const PlanLeg> legs, std::string& out) noexcept;

 private:
  friend class Table;
  struct Making;  // what one create() of a tree shares
  PolicyNode(const Component&, std::string instance, const std::string& config, HostEnvironment&, Making&);
  static Created make(const Component&, std::string instance, std::string config, HostEnvironment&, Making&);
  tg_status call_create(const std::string& config, tg_error&);
  tg_status create_child(std::string_view, tg_child**, tg_policy_traits*, tg_error*) override;
  tg_status create_scorer(std::string_view, tg_scorer_child**, tg_error*) override;
  tg_status add_child(const char* interface_id, std::string_view path, tg_error*);

  Adoption adopt_state(PolicyNode& previous);
  void log_adoption(const Adoption&) const;
  void build_into(TableSet&, const std::shared_ptr<const tg_snapshot>&);
  void release(void* table) noexcept;
  // What build() made of the snapshot that is in force; false: it failed, so nothing may be called with it.
  bool find_table(const tg_request&, const void*& table) const noexcept;
  PickStatus call_pick(tg_request&, const tg_pick_args&, tg_plan&) noexcept;
  PickStatus judge(tg_request&, const tg_pick_args&, tg_plan&, std::uint32_t tickets_before) noexcept;
  static bool claim_tickets(tg_request&, const tg_plan&, std::uint32_t tickets_before) noexcept;
  const tg_plan* hand_over(tg_request&, const tg_pick_args&, const tg_plan&) noexcept;
  static void settle(tg_request&, const tg_pick_args&, const tg_plan&, bool selected) noexcept;
  void call_complete(const tg_completion&) noexcept;
  tg_status call_transform(const tg_transform_args&, std::string& out) noexcept;

  const Component& component_;
  HostEnvironment& environment_;
  std::shared_ptr<Containment> containment_;
  LearnQueue learn_;
  std::vector<std::shared_ptr<PolicyNode>> children_;  // outlive this node's own destroy()
  InstanceHost host_;
  Making* making_ = nullptr;  // inside create() only
  std::uint32_t index_ = 0;   // of its table
  std::uint32_t tree_size_ = 1;
  tg_child as_child_{this};
  tg_scorer_child as_scorer_{this};
  void* self_ = nullptr;
  bool created_ = false;
  tg_policy_traits traits_{};
  std::string build_failure_;  // this node's own
};

}  // namespace tidegate::plugin
