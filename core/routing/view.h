// What: what requests route by, published as one immutable unit: routes with their policy instances
// (RouteGraph), one
//   membership, and every instance's table for it (View); and how I/O threads get at the newest one (ViewHub,
//   LoopView).
// Threads: made and published on the control thread; read by all. A LoopView belongs to one loop.
// Ownership: shared. A request holds the view only while it is choosing, and the graph until its last
// complete(): a stream
//   of an hour pins its policy's instances, not a snapshot of thousands of workers.
// Errors: none.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "fleet/membership.h"
#include "http/upstream.h"
#include "plugin/policy_node.h"
#include "telemetry/metrics.h"

namespace tidegate::routing {

struct Route {
  std::string name;
  config::RouteMatch match;
  std::shared_ptr<plugin::PolicyNode> policy, fallback;
  std::string policy_name, fallback_name;  // components
  std::uint32_t attempts = 3;
  std::vector<std::uint32_t> retry_statuses;
  std::uint32_t wait_ms = 10'000;  // how long a request may wait for a worker
  http::UpstreamTimeouts timeouts;
};

struct RouteGraph {
  std::uint64_t generation = 0;  // grows with each reload
  std::vector<Route> routes;
};

// What a request needs to be routed, found once.
struct Target {
  const fleet::ModelEntry* model = nullptr;  // null: no worker serves the model
  const Route* route = nullptr;              // null: no route matches
  std::shared_ptr<const telemetry::RouteMetrics> metrics;
  std::uint32_t route_index = 0;
};

class View {
 public:
  using RouteMetricsPtr = std::shared_ptr<const telemetry::RouteMetrics>;
  struct Tables {
    std::shared_ptr<const plugin::TableSet> policy, fallback;
  };

  View(std::shared_ptr<const RouteGraph> graph, fleet::MembershipPtr members, std::vector<Tables> tables);

  // Series for a route and a model; set before publication. Models that no worker names share one series.
  void add_metrics(std::uint32_t route, const std::string& model, RouteMetricsPtr metrics);

  Target find(std::string_view model, std::string_view path) const noexcept;

  const std::shared_ptr<const RouteGraph>& graph() const noexcept { return graph_; }
  const fleet::Membership& members() const noexcept { return *members_; }
  const Tables& tables(std::uint32_t route) const noexcept { return tables_[route]; }

  static constexpr const char* other_model = "_other";

 private:
  std::shared_ptr<const RouteGraph> graph_;
  fleet::MembershipPtr members_;
  std::vector<Tables> tables_;
  std::map<std::pair<std::uint32_t, std::string>, RouteMetricsPtr, std::less<>> metrics_;
  // Routes and metrics of known models, when no route looks at the path.
  std::unordered_map<std::string_view, Target> known_;
  bool by_path_ = false;
  RouteMetricsPtr metrics_for(std::uint32_t route, std::string_view model) const noexcept;
};
using ViewPtr = std::shared_ptr<const View>;

class ViewListener {
 public:
  virtual void published() noexcept = 0;  // by who publishes; must be quick and publish nothing

 protected:
  ~ViewListener() = default;
};

class ViewHub {
 public:
  void publish(ViewPtr view);
  // Any thread. After unlisten() nothing is called any more.
  void listen(ViewListener& listener) const;
  void unlisten(ViewListener& listener) const noexcept;
  ViewPtr current() const;
  // Changes with each publication. Acquire pairs with publish()'s release only so that a loop that sees the
  // new number also finds the new pointer under the mutex; the view's content is published by the mutex.
  std::uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_acquire); }

 private:
  mutable std::mutex mutex_, listeners_mutex_;
  mutable std::vector<ViewListener*> listeners_;
  ViewPtr view_;
  std::atomic<std::uint64_t> epoch_{0};
};

// One loop's copy: looking costs one load, and taking the new view a lock once per publication.
class LoopView {
 public:
  explicit LoopView(const ViewHub& hub) noexcept : hub_(hub) {}
  const ViewPtr& get() {
    if (const std::uint64_t now = hub_.epoch(); now != epoch_) {
      view_ = hub_.current();
      epoch_ = now;
    }
    return view_;
  }
  bool newer() const noexcept { return hub_.epoch() != epoch_; }  // than what get() gave last

 private:
  const ViewHub& hub_;
  std::uint64_t epoch_ = ~std::uint64_t{0};
  ViewPtr view_;
};

}  // namespace tidegate::routing
