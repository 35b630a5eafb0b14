#include "telemetry/plugin_metrics.h"

#include <array>
#include <exception>
#include <utility>

namespace tidegate::telemetry {
namespace {

constexpr std::array<double, 12> default_bounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                   0.1,   0.25,   0.5,   1,    5,     30};

PluginMetric pack(Kind kind, uint32_t bounds, CellIndex cell) {
  if (cell == 0) return 0;
  return (static_cast<uint64_t>(kind) + 1) << 62 | static_cast<uint64_t>(bounds) << 32 | cell;
}
bool is(PluginMetric metric, Kind kind) { return metric >> 62 == static_cast<uint64_t>(kind) + 1; }
CellIndex cell_of(PluginMetric metric) { return static_cast<CellIndex>(metric); }

// Components are named like "cache-aware" or "acme.router"; metric names know letters, digits and '_'.
std::string in_name(std::string text) {
  for (char& c : text) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!fine) c = '_';
  }
  return text;
}

}  // namespace

PluginMetrics::PluginMetrics(MetricsRegistry& registry, std::string component, std::string instance,
                             uint32_t cap)
    : registry_(registry), component_(std::move(component)), instance_(std::move(instance)), cap_(cap) {}

PluginMetric PluginMetrics::make(Kind kind, std::string_view name, std::string_view help,
                                 const Labels& labels, std::span<const double> bounds) noexcept {
  try {
    if (taken_ >= cap_) {
      problem_ = "instance '" + instance_ + "' has " + std::to_string(cap_) + " series already, its cap; '" +
                 std::string(name) + "' is not counted";
      return 0;
    }
    FamilySpec spec{.name = "tidegate_plugin_" + in_name(component_) + "_" + std::string(name),
                    .help = std::string(help),
                    .kind = kind};
    if (kind == Kind::histogram) {
      if (bounds.empty()) bounds = default_bounds;
      spec.bounds.assign(bounds.begin(), bounds.end());
    }
    Labels all = {{"instance", instance_}};
    for (const auto& label : labels) {
      if (label.first == "instance") {
        problem_ = "label 'instance' of '" + spec.name + "' is the host's; name it differently";
        return 0;
      }
      all.push_back(label);
    }
    Family& family = registry_.family(spec);
    CellIndex cell = 0;
    uint32_t bounds_id = 0;
    if (kind == Kind::counter) cell = registry_.counter(family, all, &leases_).cell();
    if (kind == Kind::gauge) cell = registry_.gauge(family, all, &leases_).cell();
    if (kind == Kind::histogram) {
      const Histogram made = registry_.histogram(family, all, &leases_);
      cell = made.first();
      if (cell != 0) bounds_id = made.bounds()->id;
    }
    if (cell == 0) problem_ = "no cell is left for '" + spec.name + "'";
    taken_ += cell != 0;
    return pack(kind, bounds_id, cell);
  } catch (const std::exception& e) {
    problem_ = e.what();
    return 0;
  }
}

PluginMetric PluginMetrics::counter(std::string_view name, std::string_view help,
                                    const Labels& labels) noexcept {
  return make(Kind::counter, name, help, labels, {});
}
PluginMetric PluginMetrics::gauge(std::string_view name, std::string_view help,
                                  const Labels& labels) noexcept {
  return make(Kind::gauge, name, help, labels, {});
}
PluginMetric PluginMetrics::histogram(std::string_view name, std::string_view help, const Labels& labels,
                                      std::span<const double> bounds) noexcept {
  return make(Kind::histogram, name, help, labels, bounds);
}

void PluginMetrics::add(PluginMetric metric, double amount) noexcept {
  if (is(metric, Kind::counter) && amount >= 0) Counter(cell_of(metric)).add(amount);
  if (is(metric, Kind::gauge)) Gauge(cell_of(metric)).add(amount);
}
void PluginMetrics::set(PluginMetric metric, double value) noexcept {
  if (is(metric, Kind::gauge)) Gauge(cell_of(metric)).set(value);
}
void PluginMetrics::observe(PluginMetric metric, double value) noexcept {
  if (is(metric, Kind::histogram)) {
    Histogram(cell_of(metric), Cells::bounds(static_cast<uint32_t>(metric >> 32 & 0x3fffffff)))
        .observe(value);
  }
}

}  // namespace tidegate::telemetry
