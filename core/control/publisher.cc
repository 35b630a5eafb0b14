#include "control/publisher.h"

#include <algorithm>

#include "control/plugin_section.h"
#include "telemetry/log.h"

namespace tidegate::control {
namespace log = telemetry::log;

bool Readiness::any_route() const noexcept {
  return std::any_of(routes.begin(), routes.end(), [](const auto& route) { return route.ready; });
}

Publisher::Publisher(http::EventLoop& control, routing::ViewHub& hub, fleet::Fleet& fleet,
                     plugin::Registry& registry, plugin::HostEnvironment& environment,
                     telemetry::GatewayMetrics& metrics)
    : control_(control),
      hub_(hub),
      fleet_(fleet),
      registry_(registry),
      environment_(environment),
      metrics_(metrics) {
  control_.arm(learn_, learn_ms);
  control_.arm(report_, report_ms);
}

void Publisher::collect_nodes(const std::shared_ptr<plugin::PolicyNode>& node) {
  nodes_.push_back({node, metrics_.plugin(node->component().name, node->instance())});
  for (const auto& child : node->children()) collect_nodes(child);
}

void Publisher::on_report() noexcept {
  control_.arm(report_, report_ms);
  auto move = [](const telemetry::Counter& counter, std::uint64_t& before, std::uint64_t now, double scale) {
    counter.add(static_cast<double>(now - before) * scale);
    before = now;
  };
  for (auto& one : nodes_) {
    const plugin::Containment& state = one.node->containment();
    move(one.metrics->slips, one.slips, state.all_slips(), 1);
    move(one.metrics->lock_waits, one.waits, state.serial_waits(), 1);
    move(one.metrics->lock_wait_seconds, one.wait_ns, state.serial_wait_ns(), 1e-9);
    move(one.metrics->timed_calls, one.timed, state.timed_calls(), 1);
    move(one.metrics->timed_seconds, one.timed_ns, state.timed_ns(), 1e-9);
    one.metrics->quarantined.set(one.node->quarantined() ? 1 : 0);
  }
  retry_builds();
}

// A membership change need not come soon: a policy without a table gets another chance.
void Publisher::retry_builds() noexcept {
  if (!graph_) return;
  for (const auto& route : graph_->routes)
    for (const auto& node : {route.policy, route.fallback})
      if (!node->quarantined() && !node->build_failure().empty()) return changed();
}

std::shared_ptr<plugin::PolicyNode> Publisher::make_policy(const config::PluginRef& ref,
                                                           const std::string& instance,
                                                           std::vector<std::string>& errors,
                                                           std::string& component_name) {
  auto component = registry_.find(TG_POLICY_INTERFACE, ref.plugin);
  if (!component) {
    errors.push_back(refusal_line(ref, component.refusal()));
    return nullptr;
  }
  component_name = (*component)->name;
  if (!checked_section(ref, **component, errors)) return nullptr;
  auto node =
      plugin::PolicyNode::create(**component, instance, config::to_json(ref.config), environment_, registry_);
  if (!node) {
    errors.push_back(refusal_line(ref, node.refusal()));
    return nullptr;
  }
  return *node;
}

Publisher::Graph Publisher::prepare(const config::Config& config, std::vector<std::string>& errors) {
  const std::size_t before = errors.size();
  auto graph = std::make_shared<routing::RouteGraph>();
  graph->generation = ++generation_;
  auto ms = [](config::Milliseconds value) { return static_cast<std::uint32_t>(value.count()); };
  for (const auto& given : config.routes) {
    routing::Route route;
    route.name = given.name;
    route.match = given.match;
    route.policy = make_policy(given.policy, given.name, errors, route.policy_name);
    route.fallback = make_policy(given.fallback, given.name + "/fallback", errors, route.fallback_name);
    route.attempts = given.retry.attempts;
    route.retry_statuses = given.retry.statuses;
    route.wait_ms = ms(given.wait);
    route.timeouts = {ms(given.timeouts.connect.value_or(config.upstream.connect_timeout)),
                      ms(given.timeouts.first_byte.value_or(config.upstream.first_byte_timeout)),
                      ms(given.timeouts.idle.value_or(config.upstream.idle_timeout))};
    graph->routes.push_back(std::move(route));
  }
  if (errors.size() == before) first_build(*graph, errors);
  return errors.size() == before ? graph : nullptr;
}

// A policy that can't make a table of the fleet as it is would leave its route to the fallback: better known
// before the swap. State is adopted first, as tables may be made from it.
void Publisher::first_build(routing::RouteGraph& graph, std::vector<std::string>& errors) {
  adopt(graph);
  const auto members = fleet_.make_membership();
  const std::shared_ptr<const tg_snapshot> snapshot(members, &members->snapshot());
  for (const auto& route : graph.routes)
    for (const auto& node : {route.policy, route.fallback}) {
      node->build(snapshot);
      if (std::string text = node->build_failure(); !text.empty())
        errors.push_back("route '" + route.name + "': " + text);
    }
}

void Publisher::commit(Graph graph) {
  if (graph_) old_graphs_.push_back(graph_);
  graph_ = std::move(graph);
  nodes_.clear();
  learns_ = false;
  for (const auto& route : graph_->routes) {
    learns_ |= route.policy->learns() || route.fallback->learns();
    collect_nodes(route.policy);
    collect_nodes(route.fallback);
  }
  publish_now();
}

// Instances keep their state over a reload by name, wherever their route has moved to.
void Publisher::adopt(routing::RouteGraph& graph) {
  if (!graph_) return;
  for (auto& route : graph.routes)
    for (const auto& old : graph_->routes)
      if (old.name == route.name) {
        route.policy->adopt_from(*old.policy);
        route.fallback->adopt_from(*old.fallback);
      }
}

void Publisher::changed() {
  if (graph_ && !publish_.armed()) control_.arm(publish_, coalesce_ms);
}

void Publisher::settle() {
  if (publish_.armed()) publish_now();
}

void Publisher::publish_now() {
  publish_.disarm();
  if (!graph_) return;
  auto members = fleet_.make_membership();
  // Tables live as long as the snapshot they were made from: the pointer to it keeps its membership.
  std::shared_ptr<const tg_snapshot> snapshot(members, &members->snapshot());
  std::vector<routing::View::Tables> tables;
  for (const auto& route : graph_->routes)
    tables.push_back({route.policy->build(snapshot), route.fallback->build(snapshot)});
  auto view = std::make_shared<routing::View>(graph_, members, std::move(tables));
  for (std::uint32_t i = 0; i < graph_->routes.size(); ++i) {
    const std::string& name = graph_->routes[i].name;
    view->add_metrics(i, routing::View::other_model, metrics_.route(name, routing::View::other_model));
  }
  for (std::string_view model : members->model_names()) {
    const auto target = view->find(model, "");
    if (target.route)
      view->add_metrics(target.route_index, std::string(model),
                        metrics_.route(target.route->name, std::string(model)));
  }
  update_readiness(*view);
  hub_.publish(std::move(view));
  fleet_.let_go();
}

void Publisher::update_readiness(const routing::View& view) {
  auto readiness = std::make_shared<Readiness>();
  for (const auto& worker : view.members().workers()) {
    ++readiness->total;
    readiness->healthy += worker->ready();
  }
  for (const auto& route : graph_->routes)
    readiness->routes.push_back({route.name, false, "no worker serves a model of this route"});
  // A route is ready when, for one of its models, every role that its policy needs has a ready worker.
  auto names = view.members().model_names();
  names.push_back("");
  for (std::string_view name : names) {
    const auto target = view.find(name, "");
    if (!target.model || !target.route) continue;
    auto& state = readiness->routes[target.route_index];
    const std::uint32_t roles = target.route->policy->traits().roles;
    const std::uint32_t needed = roles ? roles : TG_ROLE_BIT(TG_ROLE_ANY);
    std::string missing;
    for (std::uint32_t role = 0; role < TG_ROLE_COUNT; ++role)
      if ((needed & TG_ROLE_BIT(role)) && target.model->abi[role].count == 0)
        missing += std::string(missing.empty() ? "" : ", ") + fleet::role_name(role);
    if (missing.empty()) state.ready = true;
    if (!state.ready) state.reason = "no ready worker of role " + missing;
  }
  for (auto& state : readiness->routes)
    if (state.ready) state.reason.clear();
  std::lock_guard lock(readiness_mutex_);
  readiness_ = std::move(readiness);
}

std::shared_ptr<const Readiness> Publisher::readiness() const {
  std::lock_guard lock(readiness_mutex_);
  return readiness_;
}

bool Publisher::drain(const routing::RouteGraph& graph) {
  bool rebuild = false;
  for (const auto& route : graph.routes) {
    rebuild |= route.policy->drain_learn();
    rebuild |= route.fallback->drain_learn();
  }
  return rebuild;
}

void Publisher::on_learn() noexcept {
  // An idle gateway should let its machine sleep.
  control_.arm(learn_, learns_ || !old_graphs_.empty() ? learn_ms : no_learn_ms);
  if (!graph_) return;
  bool rebuild = drain(*graph_);
  // Looked at before the last drain: whoever let go of it had its say by then.
  std::erase_if(old_graphs_, [&](const auto& old) {
    const bool unused = old.use_count() == 1;
    rebuild |= drain(*old);
    return unused;
  });
  if (rebuild) changed();
}

std::string Publisher::describe_policies() {
  std::string text = "[";
  if (!graph_) return "[]";
  for (const auto& route : graph_->routes)
    for (const auto& node : {route.policy, route.fallback}) {
      if (text.size() > 1) text += ",";
      text += R"({"instance":")" + node->instance() + R"(","quarantined":)" +
              (node->quarantined() ? "true" : "false") + R"(,"slips":)" +
              std::to_string(node->containment().all_slips()) + R"(,"state":)" + node->describe() + "}";
    }
  return text + "]";
}

}  // namespace tidegate::control
