#include "routing/view.h"

namespace tidegate::routing {

View::View(std::shared_ptr<const RouteGraph> graph, fleet::MembershipPtr members, std::vector<Tables> tables)
    : graph_(std::move(graph)), members_(std::move(members)), tables_(std::move(tables)) {
  for (const auto& route : graph_->routes) by_path_ |= route.match.path != "*";
}

void View::add_metrics(std::uint32_t route, const std::string& model, RouteMetricsPtr metrics) {
  metrics_[{route, model}] = std::move(metrics);
  if (by_path_ || model == other_model || known_.contains(model)) return;
  Target target = find(model, "");
  if (target.route == nullptr || target.route_index != route) return;
  // The key lives in the map's node, which never moves.
  known_.emplace(metrics_.find(std::pair{route, model})->first.second, target);
}

View::RouteMetricsPtr View::metrics_for(std::uint32_t route, std::string_view model) const noexcept {
  for (std::string_view name : {model, std::string_view(other_model)}) {
    auto at = metrics_.find(std::pair<std::uint32_t, std::string>(route, name));
    if (at != metrics_.end()) return at->second;
  }
  return nullptr;
}

Target View::find(std::string_view model, std::string_view path) const noexcept {
  if (auto at = known_.find(model); at != known_.end()) return at->second;
  Target target;
  target.model = members_->model(model);
  const auto& routes = graph_->routes;
  for (std::uint32_t i = 0; i < routes.size(); ++i) {
    if (!config::route_matches(routes[i].match, model, path)) continue;
    target.route = &routes[i];
    target.route_index = i;
    target.metrics = metrics_for(i, target.model && !target.model->name.empty() ? model : other_model);
    break;
  }
  return target;
}

void ViewHub::publish(ViewPtr view) {
  {
    std::lock_guard lock(mutex_);
    view_.swap(view);
  }
  epoch_.fetch_add(1, std::memory_order_release);
  {
    std::lock_guard lock(listeners_mutex_);
    for (ViewListener* listener : listeners_) listener->published();
  }
  // The old view, if this was its last owner, ends here: outside the locks.
}

void ViewHub::listen(ViewListener& listener) const {
  std::lock_guard lock(listeners_mutex_);
  listeners_.push_back(&listener);
}

void ViewHub::unlisten(ViewListener& listener) const noexcept {
  std::lock_guard lock(listeners_mutex_);
  std::erase(listeners_, &listener);
}

ViewPtr ViewHub::current() const {
  std::lock_guard lock(mutex_);
  return view_;
}

}  // namespace tidegate::routing
