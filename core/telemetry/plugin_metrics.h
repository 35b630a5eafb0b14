// What: the numbers of plugins (tg.host.metrics/1), each behind one integer that a plugin keeps.
// Threads: add, set, observe [any], hot, wait-free but for gauges' add.
// Ownership: none; the series are their registry's.
// Errors: none. 0 stands for no metric; what does not fit a metric's kind is ignored.
#pragma once

#include <cstdint>

#include "telemetry/cells.h"
#include "telemetry/registry.h"

namespace tidegate::telemetry {

// kind in bits 62-63, id of the bounds in 32-61, cell in 0-31. 0: none.
using PluginMetric = uint64_t;

PluginMetric plugin_metric(Kind kind, uint32_t bounds, CellIndex cell) noexcept;
void add_to(PluginMetric metric, double amount) noexcept;  // counters (amounts >= 0) and gauges
void set_to(PluginMetric metric, double value) noexcept;   // gauges
void observe_in(PluginMetric metric, double value) noexcept;

}  // namespace tidegate::telemetry
