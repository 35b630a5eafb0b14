#include "telemetry/registry.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>

namespace tidegate::telemetry {
namespace {

struct Series {
  Labels labels;
  CellIndex first = 0;
  uint32_t refs = 0;
  bool permanent = false;
};

// Values may hold any byte: a length before each keeps two label sets apart.
std::string key_of(const Labels& labels) {
  std::string key;
  for (const auto& [name, value] : labels) key += std::to_string(value.size()) + ':' + value + name + '\n';
  return key;
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == '\\'; }, ' ');
  return text;
}

prometheus::MetricType type_of(Kind kind) {
  switch (kind) {
    case Kind::counter: return prometheus::MetricType::Counter;
    case Kind::gauge: return prometheus::MetricType::Gauge;
    default: return prometheus::MetricType::Histogram;
  }
}

prometheus::ClientMetric labelled(const Labels& labels) {
  prometheus::ClientMetric out;
  for (const auto& [name, value] : labels) out.label.push_back({name, value});
  return out;
}

bool is_name(std::string_view name, bool colon) noexcept {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(), [colon](unsigned char c) {
    return (c < 128 && std::isalnum(c)) || c == '_' || (colon && c == ':');
  });
}

}  // namespace

bool valid_metric_name(std::string_view name) noexcept { return is_name(name, true); }
bool valid_label_name(std::string_view name) noexcept {
  return is_name(name, false) && !name.starts_with("__");
}

struct Family {
  FamilySpec spec;
  const Bounds* bounds = nullptr;
  std::map<std::string, Series> series;
  uint32_t cells() const { return bounds ? Histogram::cells(*bounds) : 1; }
};

struct RegistryState {
  mutable std::mutex mutex;
  std::map<std::string, Family> families;  // a map: printed in order, and never moved
  uint64_t refused = 0;

  struct Watch {
    Family* family;
    std::function<void(const MetricsRegistry::Emit&)> read;
  };
  mutable std::mutex
      watch_mutex;  // held while watchers run, so that after a lease ends its function does not; taken first
  std::map<uint64_t, Watch> watches;
  uint64_t next_watch = 1;

  ~RegistryState() {
    for (auto& [name, family] : families) {
      for (auto& [key, series] : family.series) Cells::release(series.first, family.cells());
    }
  }
  void drop(Family& family, const std::string& key) {
    const std::lock_guard lock(mutex);
    auto found = family.series.find(key);
    if (found == family.series.end() || --found->second.refs > 0 || found->second.permanent) return;
    Cells::release(found->second.first, family.cells());
    family.series.erase(found);
  }
};

Leases& Leases::operator=(Leases&& other) noexcept {
  if (this != &other) {
    clear();
    releases_ = std::move(other.releases_);
    other.releases_.clear();
  }
  return *this;
}

void Leases::clear() noexcept {
  for (auto& release : releases_) release();
  releases_.clear();
}

MetricsRegistry::MetricsRegistry() : state_(std::make_shared<RegistryState>()) {}
MetricsRegistry::~MetricsRegistry() = default;

Family& MetricsRegistry::family(const FamilySpec& spec) {
  if (!valid_metric_name(spec.name)) {
    throw std::invalid_argument("metric name '" + spec.name +
                                "': expected letters, digits and '_', not beginning with a digit");
  }
  const Bounds* bounds = spec.kind == Kind::histogram ? &Cells::intern(spec.bounds) : nullptr;
  const std::lock_guard lock(state_->mutex);
  auto [at, made] = state_->families.try_emplace(spec.name);
  Family& family = at->second;
  if (made) {
    family.spec = spec;
    family.spec.help = one_line(spec.help);
    family.bounds = bounds;
  } else if (family.spec.kind != spec.kind || family.bounds != bounds) {
    throw std::invalid_argument("metric '" + spec.name +
                                "' exists already as another kind or with other bounds; name it differently");
  }
  return family;
}

CellIndex MetricsRegistry::take(Family& family, Kind kind, const Labels& labels, Leases* keep) {
  if (family.spec.kind != kind)
    throw std::invalid_argument("metric '" + family.spec.name + "' is of another kind");
  for (const auto& [name, value] : labels) {
    if (!valid_label_name(name) || (kind == Kind::histogram && name == "le")) {
      throw std::invalid_argument("label '" + name + "' of metric '" + family.spec.name +
                                  "': expected letters, digits and '_', not beginning with a digit or '__'");
    }
  }
  Labels wanted = labels;
  std::string key = key_of(wanted);
  const std::lock_guard lock(state_->mutex);
  auto found = family.series.find(key);
  if (found == family.series.end() && family.series.size() >= family.spec.cap) {
    ++state_->refused;
    for (auto& [name, value] : wanted) value = "_other";
    key = key_of(wanted);
    found = family.series.find(key);
  }
  if (found == family.series.end()) {
    const CellIndex first = Cells::reserve(family.cells());
    if (first == 0) {
      ++state_->refused;
      return 0;
    }
    found = family.series.emplace(key, Series{std::move(wanted), first}).first;
  }
  Series& series = found->second;
  if (keep == nullptr) {
    series.permanent = true;
  } else {
    ++series.refs;
    keep->releases_.emplace_back(
        [state = state_, &family, key = std::move(key)] { state->drop(family, key); });
  }
  return series.first;
}

Counter MetricsRegistry::counter(Family& family, const Labels& labels, Leases* keep) {
  return Counter(take(family, Kind::counter, labels, keep));
}
UpDown MetricsRegistry::up_down(Family& family, const Labels& labels, Leases* keep) {
  return UpDown(take(family, Kind::gauge, labels, keep));
}
Gauge MetricsRegistry::gauge(Family& family, const Labels& labels, Leases* keep) {
  return Gauge(take(family, Kind::gauge, labels, keep));
}
Histogram MetricsRegistry::histogram(Family& family, const Labels& labels, Leases* keep) {
  const CellIndex first = take(family, Kind::histogram, labels, keep);
  return first == 0 ? Histogram() : Histogram(first, *family.bounds);
}

void MetricsRegistry::watch(Family& family, std::function<void(const Emit&)> read, Leases* keep) {
  const std::lock_guard lock(state_->watch_mutex);
  const uint64_t id = state_->next_watch++;
  state_->watches.emplace(id, RegistryState::Watch{&family, std::move(read)});
  if (keep == nullptr) return;
  keep->releases_.emplace_back([state = state_, id] {
    const std::lock_guard relock(state->watch_mutex);
    state->watches.erase(id);
  });
}

namespace {

void put_value(prometheus::ClientMetric& metric, Kind kind, double value) {
  if (kind == Kind::counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

// False: a series of a sparse family in which nothing has happened.
bool put_series(prometheus::ClientMetric& metric, const Family& family, CellIndex first) {
  if (family.bounds == nullptr) {
    const double value = Cells::sum(first);
    put_value(metric, family.spec.kind, value);
    return value != 0 || !family.spec.sparse;
  }
  const Bounds& bounds = *family.bounds;
  uint64_t seen = 0;
  for (uint32_t i = 0; i <= bounds.count; ++i) {
    seen += static_cast<uint64_t>(Cells::sum(first + i));
    const double upper = i < bounds.count ? bounds.upper[i] : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({seen, upper});
  }
  metric.histogram.sample_count = seen;
  metric.histogram.sample_sum = Cells::sum(first + bounds.count + 1);
  return seen != 0 || !family.spec.sparse;
}

}  // namespace

std::vector<prometheus::MetricFamily> MetricsRegistry::Collect() const {
  std::map<const Family*, std::vector<prometheus::ClientMetric>> watched;
  {
    const std::lock_guard lock(state_->watch_mutex);
    for (const auto& [id, watch] : state_->watches) {
      auto& out = watched[watch.family];
      const Kind kind = watch.family->spec.kind;
      watch.read([&](const Labels& labels, double value) {
        put_value(out.emplace_back(labelled(labels)), kind, value);
      });
    }
  }
  std::vector<prometheus::MetricFamily> out;
  const std::lock_guard lock(state_->mutex);
  for (const auto& [name, family] : state_->families) {
    prometheus::MetricFamily printed{name, family.spec.help, type_of(family.spec.kind), {}};
    if (auto values = watched.find(&family); values != watched.end())
      printed.metric = std::move(values->second);
    for (const auto& [key, series] : family.series) {
      prometheus::ClientMetric metric = labelled(series.labels);
      if (put_series(metric, family, series.first)) printed.metric.push_back(std::move(metric));
    }
    if (!printed.metric.empty()) out.push_back(std::move(printed));
  }
  return out;
}

std::string MetricsRegistry::expose() const { return prometheus::TextSerializer().Serialize(Collect()); }

uint64_t MetricsRegistry::series() const {
  const std::lock_guard lock(state_->mutex);
  uint64_t count = 0;
  for (const auto& [name, family] : state_->families) count += family.series.size();
  return count;
}

uint64_t MetricsRegistry::series_refused() const {
  const std::lock_guard lock(state_->mutex);
  return state_->refused;
}

}  // namespace tidegate::telemetry
