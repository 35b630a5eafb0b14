// What: the metrics of one plugin instance (tg.host.metrics/1): names get the prefix
// tidegate_plugin_<component>_ and a label
//   `instance`; a cap of series keeps a careless plugin from filling the exposition.
// Threads: counter, gauge, histogram [control]; add, set, observe [any], hot, wait-free but for gauges' add.
// Ownership: the series live as long as this object; destroy it after the instance's destroy() has returned.
// Errors: a handle of 0 (bad name, a name used as another kind, the cap), and problem() says why. Everything
// accepts 0.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "telemetry/registry.h"

namespace tidegate::telemetry {

// kind in bits 62-63, id of the bounds in 32-61, cell in 0-31. 0: none.
using PluginMetric = uint64_t;

class PluginMetrics {
 public:
  PluginMetrics(MetricsRegistry& registry, std::string component, std::string instance, uint32_t cap = 1000);

  PluginMetric counter(std::string_view name, std::string_view help, const Labels& labels) noexcept;
  PluginMetric gauge(std::string_view name, std::string_view help, const Labels& labels) noexcept;
  PluginMetric histogram(std::string_view name, std::string_view help, const Labels& labels,
                         std::span<const double> bounds) noexcept;  // no bounds: those of durations
  const std::string& problem() const noexcept { return problem_; }  // of the last call that gave 0

  static void add(PluginMetric metric, double amount) noexcept;  // counters (amounts >= 0) and gauges
  static void set(PluginMetric metric, double value) noexcept;   // gauges
  static void observe(PluginMetric metric, double value) noexcept;

 private:
  PluginMetric make(Kind kind, std::string_view name, std::string_view help, const Labels& labels,
                    std::span<const double> bounds) noexcept;
  MetricsRegistry& registry_;
  std::string component_, instance_, problem_;
  uint32_t cap_, taken_ = 0;
  Leases leases_;
};

}  // namespace tidegate::telemetry
