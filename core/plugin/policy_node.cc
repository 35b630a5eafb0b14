// The control side of policy nodes: making a tree, adopting state, tables, learning.
#include "plugin/policy_node.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "plugin/out_text.h"
#include "plugin/registry.h"

namespace tidegate::plugin {
namespace {

// Ends something on the control thread, wherever its last owner lets go of it.
struct EndOnControl {
  HostEnvironment* environment;
  template <class T>
  void operator()(T* object) const noexcept {
    const auto end = [](void* it) { delete static_cast<T*>(it); };
    if (environment->on_control_thread() || !environment->post(end, object)) delete object;
  }
};

std::string about(const Component& component, const std::string& instance) {
  return (component.kind == Kind::scorer ? "scorer '" : "policy '") + component.name + "' (" +
         component.library->path() + "), instance '" + instance + "'";
}

}  // namespace

struct PolicyNode::Making {
  Registry& registry;
  ContainmentLimits limits;
  std::uint32_t next_index = 0;
  std::uint32_t depth = 0;
};

Table::Table(PolicyNode& node, void* table, std::shared_ptr<const tg_snapshot> snapshot) noexcept
    : node_(node), table_(table), snapshot_(std::move(snapshot)) {}
Table::~Table() {
  if (table_) node_.release(table_);
}

PolicyNode::PolicyNode(const Component& component, std::string instance, const std::string& config,
                       HostEnvironment& environment, Making& making)
    : component_(component),
      environment_(environment),
      containment_(Containment::create(environment, {component.library->name(), component.name, instance},
                                       (component.flags & TG_CONCURRENT) != 0, making.limits)),
      host_(environment, {component.name, std::move(instance), config, this, &learn_, containment_}),
      making_(&making),
      index_(making.next_index++) {
  ++making.depth;
}

PolicyNode::~PolicyNode() {
  if (created_)
    containment_->control_call(Function::destroy, [&] {
      component_.policy.destroy(self_);
      return TG_OK;
    });
}

PolicyNode::Created PolicyNode::create(const Component& component, std::string instance, std::string config,
                                       HostEnvironment& environment, Registry& registry,
                                       ContainmentLimits limits) {
  if (component.kind != Kind::policy)
    return Refusal{about(component, instance) +
                       ": expected a component of " TG_POLICY_INTERFACE ", found one of " +
                       component.interface_id + "; name a policy",
                   ""};
  Making making{.registry = registry, .limits = limits};
  return make(component, std::move(instance), std::move(config), environment, making);
}

PolicyNode::Created PolicyNode::make(const Component& component, std::string instance, std::string config,
                                     HostEnvironment& environment, Making& making) {
  auto prepared = environment.prepare_config(component, std::move(config));
  if (!prepared) return prepared.refusal();
  const std::uint32_t depth = making.depth;
  const std::shared_ptr<PolicyNode> node(
      new PolicyNode(component, std::move(instance), *prepared, environment, making),
      EndOnControl{&environment});
  tg_error error{};
  error.size = sizeof error;
  const tg_status status = node->call_create(*prepared, error);
  node->making_ = nullptr;
  node->host_.end_create();
  making.depth = depth;
  if (status != TG_OK) {
    std::string text = status == call_threw ? "create() threw an exception" : error_text(error);
    if (text.empty()) text = "create() failed with status " + std::to_string(status) + " and no text";
    // A child's refusal passed through: it says already whose it is.
    if (!text.starts_with("policy '") && !text.starts_with("scorer '"))
      text = about(component, node->instance()) + ": " + text;
    return Refusal{text, error_where(error)};
  }
  node->created_ = true;
  node->tree_size_ = making.next_index - node->index_;
  if (const std::uint32_t unknown = node->traits_.needs & ~known_needs(Kind::policy))
    return Refusal{about(component, node->instance()) +
                       ": expected needs that this gateway knows, found the bits " + std::to_string(unknown) +
                       "; use a newer gateway",
                   ""};
  node->traits_.needs |= component.flags & known_needs(Kind::policy);
  for (const auto& child : node->children_) node->traits_.needs |= child->traits_.needs;
  return node;
}

tg_status PolicyNode::call_create(const std::string& config, tg_error& error) {
  traits_.size = sizeof traits_;
  return containment_->control_call(Function::create, [&] {
    const tg_host* host = host_.abi();
    return component_.kind == Kind::scorer
               ? component_.scorer.create(host, to_str(config), &self_, &error)
               : component_.policy.create(host, to_str(config), &traits_, &self_, &error);
  });
}

// Appends to children_.
tg_status PolicyNode::add_child(const char* interface_id, std::string_view path, tg_error* error) {
  if (!making_) return set_error(error, TG_E_INVALID, path, "children are made inside create() only");
  const auto section = host_.config()->section(path);
  if (!section)
    return set_error(
        error, TG_E_CONFIG, path,
        "expected a {plugin, config} section or a plugin's name, found neither; name the plugin");
  if (making_->depth >= max_depth)
    return set_error(error, TG_E_LIMIT, path,
                     "expected policies nested at most 8 deep, found more; nest fewer");
  const auto component = making_->registry.find(interface_id, section->plugin);
  if (!component)
    return set_error(error, TG_E_CONFIG, std::string(path) + "/plugin", component.refusal().text);
  std::string name = instance() + std::string(path);
  const auto used = std::count_if(children_.begin(), children_.end(), [&](const auto& child) {
    return child->instance() == name || child->instance().starts_with(std::string(name).append("#"));
  });
  if (used) name.append("#").append(std::to_string(used + 1));
  auto child = make(**component, std::move(name), section->config, environment_, *making_);
  if (!child)
    return set_error(error, TG_E_CONFIG, std::string(path) + "/config" + child.refusal().where,
                     child.refusal().text);
  children_.push_back(*child);
  return TG_OK;
}

tg_status PolicyNode::create_scorer(std::string_view path, tg_scorer_child** out, tg_error* error) {
  const tg_status status = add_child(TG_SCORER_INTERFACE, path, error);
  if (status == TG_OK) *out = &children_.back()->as_scorer_;
  return status;
}

tg_status PolicyNode::create_child(std::string_view path, tg_child** out, tg_policy_traits* traits,
                                   tg_error* error) {
  const tg_status status = add_child(TG_POLICY_INTERFACE, path, error);
  if (status != TG_OK) return status;
  PolicyNode& node = *children_.back();
  if (traits) {
    const std::uint32_t size = std::min<std::uint32_t>(traits->size, sizeof(tg_policy_traits));
    if (size >= sizeof(std::uint32_t)) {
      const std::uint32_t theirs = traits->size;
      std::copy_n(reinterpret_cast<const char*>(&node.traits_), size, reinterpret_cast<char*>(traits));
      traits->size = theirs;
    }
  }
  *out = &node.as_child_;
  return TG_OK;
}

namespace {

void collect(PolicyNode& node, std::vector<PolicyNode*>& all) {
  all.push_back(&node);
  for (const auto& child : node.children()) collect(*child, all);
}

}  // namespace

Adoption PolicyNode::adopt_from(PolicyNode& previous) {
  std::vector<PolicyNode*> ours;
  std::vector<PolicyNode*> theirs;
  collect(*this, ours);
  collect(previous, theirs);
  Adoption sum;
  for (PolicyNode* node : ours) {
    const auto match = std::find_if(theirs.begin(), theirs.end(), [&](const PolicyNode* other) {
      return other->instance() == node->instance() && other->component_.name == node->component_.name;
    });
    // What quarantined the old one may be its state.
    const Adoption one =
        match == theirs.end() || (*match)->quarantined() ? Adoption{.cold = 1} : node->adopt_state(**match);
    node->log_adoption(one);
    sum.adopted += one.adopted;
    sum.imported += one.imported;
    sum.cold += one.cold;
  }
  return sum;
}

void PolicyNode::log_adoption(const Adoption& a) const {
  if (!component_.policy.adopt && !component_.policy.import_state) return;  // it has no state to hand on
  const LogField fields[] = {{"component", component_.name},
                             {"state", a.adopted    ? "adopted"
                                       : a.imported ? "imported"
                                                    : "cold"}};
  environment_.log(TG_LOG_INFO, instance(), "a policy's state after a reload", fields);
}

Adoption PolicyNode::adopt_state(PolicyNode& previous) {
  const tg_policy& ours = component_.policy;
  const tg_policy& theirs = previous.component_.policy;
  if (ours.adopt && ours.state_id != 0 && ours.state_id == theirs.state_id) {
    const Containment::Turn turn(*previous.containment_);  // which is being picked with
    if (turn && containment_->control_call(Function::adopt,
                                           [&] { return ours.adopt(self_, previous.self_); }) == TG_OK)
      return {.adopted = 1};
  }
  if (ours.import_state && theirs.export_state) {
    OutText bytes;
    const bool exported = previous.containment_->exclusive_call(Function::export_state, [&] {
      return theirs.export_state(previous.self_, bytes.abi());
    }) == TG_OK;
    // Half an export is not the state of an older build: its reader has no way to see the cut.
    if (exported && bytes.whole() && containment_->control_call(Function::import_state, [&] {
          return ours.import_state(self_, to_str(bytes.text()));
        }) == TG_OK)
      return {.imported = 1};
  }
  return {.cold = 1};
}

std::shared_ptr<const TableSet> PolicyNode::build(const std::shared_ptr<const tg_snapshot>& snapshot) {
  std::shared_ptr<TableSet> set(new TableSet, EndOnControl{&environment_});
  set->root_ = shared_from_this();
  set->tables_.resize(tree_size_);
  build_into(*set, snapshot);
  return set;
}

void PolicyNode::build_into(TableSet& set, const std::shared_ptr<const tg_snapshot>& snapshot) {
  if (component_.policy.build && !quarantined()) {
    void* table = nullptr;
    tg_error error{};
    error.size = sizeof error;
    const tg_status status = containment_->exclusive_call(
        Function::build, [&] { return component_.policy.build(self_, snapshot.get(), &table, &error); });
    build_failure_.clear();
    if (status == TG_OK) {
      set.tables_[index_] = std::make_shared<Table>(*this, table, snapshot);
    } else {
      build_failure_ = status == call_threw ? "build() threw an exception" : error_text(error);
      if (status == call_skipped) build_failure_ = "build() has to wait for a call that stalls";
      if (build_failure_.empty())
        build_failure_ = "build() failed with status " + std::to_string(status) + " and no text";
      containment_->slip(Slip::build, Function::build, build_failure_);
    }
  }
  for (const auto& child : children_) child->build_into(set, snapshot);
}

std::string PolicyNode::build_failure() const {
  if (!build_failure_.empty()) return about(component_, instance()) + ": " + build_failure_;
  for (const auto& child : children_)
    if (std::string text = child->build_failure(); !text.empty()) return text;
  return {};
}

void PolicyNode::release(void* table) noexcept {
  if (!component_.policy.release) return;
  containment_->control_call(Function::release, [&] {
    component_.policy.release(self_, table);
    return TG_OK;
  });
}

bool PolicyNode::learns() const noexcept {
  return component_.policy.learn ||
         std::any_of(children_.begin(), children_.end(), [](const auto& child) { return child->learns(); });
}

bool PolicyNode::drain_learn() {
  std::uint32_t rebuild = 0;
  learn_.drain([&](const tg_record* records, std::uint32_t count) {
    if (!component_.policy.learn || quarantined()) return;
    std::uint32_t wanted = 0;
    containment_->exclusive_call(Function::learn, [&] {
      component_.policy.learn(self_, records, count, &wanted);
      return TG_OK;
    });
    rebuild |= wanted;
  });
  bool any = rebuild != 0;
  for (const auto& child : children_) any |= child->drain_learn();
  return any;
}

}  // namespace tidegate::plugin
