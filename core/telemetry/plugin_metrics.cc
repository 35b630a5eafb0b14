#include "telemetry/plugin_metrics.h"

namespace tidegate::telemetry {
namespace {

bool is(PluginMetric metric, Kind kind) noexcept { return metric >> 62 == static_cast<uint64_t>(kind) + 1; }
CellIndex cell_of(PluginMetric metric) noexcept { return static_cast<CellIndex>(metric); }

}  // namespace

PluginMetric plugin_metric(Kind kind, uint32_t bounds, CellIndex cell) noexcept {
  return cell == 0 ? 0 : (static_cast<uint64_t>(kind) + 1) << 62 | static_cast<uint64_t>(bounds) << 32 | cell;
}

void add_to(PluginMetric metric, double amount) noexcept {
  if (is(metric, Kind::counter) && amount >= 0) Counter(cell_of(metric)).add(amount);
  if (is(metric, Kind::gauge)) Gauge(cell_of(metric)).add(amount);
}
void set_to(PluginMetric metric, double value) noexcept {
  if (is(metric, Kind::gauge)) Gauge(cell_of(metric)).set(value);
}
void observe_in(PluginMetric metric, double value) noexcept {
  if (is(metric, Kind::histogram)) {
    Histogram(cell_of(metric), Cells::bounds(static_cast<uint32_t>(metric >> 32 & 0x3fffffff)))
        .observe(value);
  }
}

}  // namespace tidegate::telemetry
