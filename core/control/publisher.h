// What: makes what requests route by: policy instances from the configuration, tables from memberships,
// published as views. Threads: the control thread. Ownership: keeps the graph in force; requests keep the
// graphs and views they use. Borrows everything it is made with. Errors: prepare() gives all errors, ready to
// print, and changes nothing when there are any. A policy whose build fails is
//   not asked until a later build succeeds, which is tried every second.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "config/config.h"
#include "fleet/fleet.h"
#include "http/event_loop.h"
#include "plugin/registry.h"
#include "routing/view.h"
#include "telemetry/metrics.h"

namespace tidegate::control {

struct RouteReadiness {
  std::string route;
  bool ready = false;
  std::string reason;
};

// What /readiness says; immutable, made with each view.
struct Readiness {
  std::uint32_t healthy = 0, total = 0;
  std::vector<RouteReadiness> routes;
  bool any_route() const noexcept;
};

class Publisher {
 public:
  Publisher(http::EventLoop& control, routing::ViewHub& hub, fleet::Fleet& fleet, plugin::Registry& registry,
            plugin::HostEnvironment& environment, telemetry::GatewayMetrics& metrics);

  // Builds the instances of a configuration beside those in force; null when there are errors. Nothing
  // changes before commit().
  using Graph = std::shared_ptr<routing::RouteGraph>;
  Graph prepare(const config::Config& config, std::vector<std::string>& errors);
  void commit(Graph graph);
  void changed();  // publishes a little later, so that a burst of changes makes one view
  void publish_now();
  // Puts in force what changed() has put off: who reads the fleet after it, sees what requests route by.
  void settle();
  std::shared_ptr<const routing::RouteGraph> graph() const { return graph_; }
  std::shared_ptr<const Readiness> readiness() const;  // any thread
  std::string describe_policies();                     // JSON array for /plugins

 private:
  std::shared_ptr<plugin::PolicyNode> make_policy(const config::PluginRef& ref, const std::string& instance,
                                                  std::vector<std::string>& errors, std::string& component);
  void adopt(routing::RouteGraph& graph);
  void first_build(routing::RouteGraph& graph, std::vector<std::string>& errors);
  void retry_builds() noexcept;
  void on_learn() noexcept;
  void update_readiness(const routing::View& view);
  void publish_now_quietly() noexcept { publish_now(); }

  void collect_nodes(const std::shared_ptr<plugin::PolicyNode>& node);
  void on_report() noexcept;
  static bool drain(const routing::RouteGraph& graph);

  static constexpr std::uint32_t coalesce_ms = 2, learn_ms = 20, report_ms = 1'000;
  static constexpr std::uint32_t no_learn_ms = 100;  // where nobody learns
  struct NodeMetrics {
    std::shared_ptr<plugin::PolicyNode> node;
    std::shared_ptr<const telemetry::PluginCallMetrics> metrics;
    std::uint64_t slips = 0, waits = 0, wait_ns = 0, timed = 0, timed_ns = 0;
  };

  http::EventLoop& control_;
  routing::ViewHub& hub_;
  fleet::Fleet& fleet_;
  plugin::Registry& registry_;
  plugin::HostEnvironment& environment_;
  telemetry::GatewayMetrics& metrics_;
  std::shared_ptr<const routing::RouteGraph> graph_;
  std::uint64_t generation_ = 0;
  mutable std::mutex readiness_mutex_;
  std::shared_ptr<const Readiness> readiness_ = std::make_shared<Readiness>();
  http::Timer publish_{http::Timer::of<&Publisher::publish_now_quietly>, this};
  std::vector<NodeMetrics> nodes_;  // of the graph in force
  bool learns_ = false;             // somebody in it
  // Requests that run on them still have something to teach, to states that newer instances have adopted.
  std::vector<std::shared_ptr<const routing::RouteGraph>> old_graphs_;
  http::Timer report_{http::Timer::of<&Publisher::on_report>, this};
  http::Timer learn_{http::Timer::of<&Publisher::on_learn>, this};
};

}  // namespace tidegate::control
