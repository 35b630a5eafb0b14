// What: metric families and their series, by name and labels; collected and printed in Prometheus' text
// format. Threads: everything [any] but I/O threads (a lock is held). Collect and expose run on the metrics
// thread; functions given
//   to watch() run there too, and must neither register nor collect.
// Ownership: a series lives while a Leases object that took it does; without one, as long as the registry.
// Taking the same
//   labels again gives the same cells, so a worker that is in two views counts in one place. A family belongs
//   to the registry.
// Errors: std::invalid_argument for a name Prometheus would refuse, or a family declared again as another
// kind. Past
//   a family's cap a series becomes the one whose values are all "_other"; the refusals are counted.
#pragma once

#include <prometheus/collectable.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "telemetry/cells.h"

namespace tidegate::telemetry {

using Labels = std::vector<std::pair<std::string, std::string>>;

enum class Kind : uint8_t { counter, gauge, histogram };

struct FamilySpec {
  std::string name;
  std::string help;
  Kind kind = Kind::counter;
  std::vector<double> bounds = {};  // of a histogram, ascending
  uint32_t cap = 10000;             // series
  bool sparse = false;  // leave out series that are 0: for dense tables of which few cells are ever used
};

struct Family;
struct RegistryState;

// Series kept alive. Destroyed or cleared on a thread that may take a lock, after the last use of their
// handles.
class Leases {
 public:
  Leases() = default;
  Leases(Leases&&) noexcept = default;
  Leases& operator=(Leases&& other) noexcept;
  ~Leases() { clear(); }
  void clear() noexcept;

 private:
  friend class MetricsRegistry;
  std::vector<std::function<void()>> releases_;
};

class MetricsRegistry final : public prometheus::Collectable {
 public:
  MetricsRegistry();
  ~MetricsRegistry() override;

  // Declares a family; again with the same name and kind: the one that is there.
  Family& family(const FamilySpec& spec);

  Counter counter(Family& family, const Labels& labels = {}, Leases* keep = nullptr);
  UpDown up_down(Family& family, const Labels& labels = {}, Leases* keep = nullptr);
  Gauge gauge(Family& family, const Labels& labels = {}, Leases* keep = nullptr);
  Histogram histogram(Family& family, const Labels& labels = {}, Leases* keep = nullptr);

  // Values that stand elsewhere, read when collected: emit(labels, value), any number of times.
  using Emit = std::function<void(const Labels&, double)>;
  void watch(Family& family, std::function<void(const Emit&)> read, Leases* keep = nullptr);

  std::vector<prometheus::MetricFamily> Collect() const override;
  std::string expose() const;  // text format 0.0.4; Content-Type: metrics_content_type

  uint64_t series() const;          // alive
  uint64_t series_refused() const;  // past a cap, or no cell left

 private:
  CellIndex take(Family& family, Kind kind, const Labels& labels, Leases* keep);
  std::shared_ptr<RegistryState> state_;  // shared with leases, which may outlive the registry
};

inline constexpr const char* metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";

bool valid_metric_name(std::string_view name) noexcept;  // [a-zA-Z_:][a-zA-Z0-9_:]*
bool valid_label_name(std::string_view name) noexcept;   // [a-zA-Z_][a-zA-Z0-9_]*, not "__..."

}  // namespace tidegate::telemetry
