// What: the discovery sources in force: made from the configuration, exchanged at a reload, heard.
// Threads: the control thread, but silent(): any. What sources say comes on their own threads, where names
// are resolved, and goes on on the control thread; what an exchanged source still says is not heard.
// Ownership: owns the sources. Borrows the rest. After stop() nothing borrowed is touched; the object itself
// must outlive the loop's last task.
// Errors: prepare() gives all errors, ready to print, and changes nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "control/environment.h"
#include "fleet/fleet.h"
#include "plugin/discovery_runner.h"
#include "plugin/registry.h"
#include "telemetry/metrics.h"

namespace tidegate::control {

fleet::WorkerSpec spec_of(const std::string& source, plugin::WorkerDesc&& desc);

class Sources {
 public:
  Sources(http::EventLoop& control, plugin::Registry& registry, Environment& environment, fleet::Fleet& fleet,
          telemetry::GatewayMetrics& metrics);
  ~Sources();

  // Makes what the configuration names, beside what is in force; null when there are errors. Nothing of it
  // runs before commit(); a plan may be thrown away.
  struct Plan;
  std::shared_ptr<Plan> prepare(const config::Config& config, std::vector<std::string>& errors);
  void commit(Plan& plan);
  void stop();

  // Configured, and neither synced nor failed yet: is there one?
  bool silent() const noexcept { return silent_.load(std::memory_order_relaxed) > 0; }
  struct Listed {
    std::string name, plugin;
    std::string described;  // by itself: a JSON object, or nothing
    std::size_t workers;
  };
  std::vector<Listed> list() const;

 private:
  class Ear;
  struct Source;

  void make(const config::DiscoveryConfig& wanted, Plan& plan, std::vector<std::string>& errors);
  bool current(const std::string& source, std::uint64_t generation) const;
  void heard(const std::string& source);
  void drop_old();
  void note(const std::string& source);
  const telemetry::DiscoveryMetrics& metrics_of(const std::string& source);
  void on_tick() noexcept;

  static constexpr std::uint32_t tick_ms = 250;
  http::EventLoop& control_;
  plugin::Registry& registry_;
  Environment& environment_;
  fleet::Fleet& fleet_;
  telemetry::GatewayMetrics& metrics_;
  std::uint64_t generation_ = 0;
  std::map<std::string, Source> sources_;
  std::vector<Source> retiring_;
  std::set<std::string> heard_;
  std::set<std::string> dropping_;  // configured no longer, their workers serve on
  std::map<std::string, std::shared_ptr<const telemetry::DiscoveryMetrics>> source_metrics_;
  std::atomic<std::uint32_t> silent_{0};
  http::Timer tick_{http::Timer::of<&Sources::on_tick>, this};
};

}  // namespace tidegate::control
