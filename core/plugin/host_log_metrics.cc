// tg.host.log/1 and tg.host.metrics/1.
#include <algorithm>
#include <array>
#include <utility>

#include "plugin/host.h"

namespace tidegate::plugin {
namespace {

constexpr std::uint32_t max_fields = 16;
constexpr std::uint32_t max_metrics =
    256;  // series of one instance: a name with a worker's id in it must not grow for ever

std::string metric_word(std::string_view text) {
  std::string word(text);
  for (char& c : word)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) c = '_';
  return word;
}

bool enabled(const tg_host* host, std::int32_t level) {
  return InstanceHost::of(host).environment().log_enabled(level);
}
void write(const tg_host* host, std::int32_t level, tg_str text, const tg_kv* fields, std::uint32_t count) {
  InstanceHost& self = InstanceHost::of(host);
  if (level < TG_LOG_TRACE || level > TG_LOG_ERROR) level = TG_LOG_INFO;
  if (!self.environment().log_enabled(level)) return;
  std::array<LogField, max_fields> ours;
  count = fields ? std::min(count, max_fields) : 0;
  for (std::uint32_t i = 0; i < count; ++i) ours[i] = {view(fields[i].key), view(fields[i].value)};
  self.environment().log(level, self.instance(), view(text), {ours.data(), count});
}

MetricSink& sink(const tg_host* host) { return InstanceHost::of(host).environment().metrics(); }

tg_metric counter(const tg_host* host, tg_str name, tg_str help, const tg_kv* labels, std::uint32_t count) {
  return InstanceHost::of(host).define_metric(MetricKind::counter, name, help, labels, count, nullptr, 0);
}
tg_metric gauge(const tg_host* host, tg_str name, tg_str help, const tg_kv* labels, std::uint32_t count) {
  return InstanceHost::of(host).define_metric(MetricKind::gauge, name, help, labels, count, nullptr, 0);
}
tg_metric histogram(const tg_host* host, tg_str name, tg_str help, const tg_kv* labels, std::uint32_t count,
                    const double* bounds, std::uint32_t bound_count) {
  return InstanceHost::of(host).define_metric(MetricKind::histogram, name, help, labels, count, bounds,
                                              bound_count);
}
void add(const tg_host* host, tg_metric metric, double value) {
  if (metric) sink(host).add(metric, value);
}
void set(const tg_host* host, tg_metric metric, double value) {
  if (metric) sink(host).set(metric, value);
}
void observe(const tg_host* host, tg_metric metric, double value) {
  if (metric) sink(host).observe(metric, value);
}

}  // namespace

std::uint64_t InstanceHost::define_metric(MetricKind kind, tg_str name, tg_str help, const tg_kv* labels,
                                          std::uint32_t count, const double* bounds,
                                          std::uint32_t bound_count) {
  const bool ascending = bound_count == 0 || (bounds && std::is_sorted(bounds, bounds + bound_count));
  if (name.len == 0 || !ascending || metrics_.size() >= max_metrics) {
    const LogField fields[] = {{"metric", view(name)}};
    environment_.log(TG_LOG_WARN, instance_,
                     metrics_.size() >= max_metrics
                         ? "a metric was refused: an instance may have 256"
                         : "a metric was refused: it needs a name and ascending bounds",
                     fields);
    return 0;
  }
  MetricDefinition definition{
      .kind = kind,
      .name = "tidegate_plugin_" + metric_word(component_) + "_" + metric_word(view(name)),
      .help = std::string(view(help)),
      .labels = {{"instance", instance_}},
      .bounds = {bounds, bounds + bound_count}};
  for (std::uint32_t i = 0; labels && i < count; ++i)
    definition.labels.emplace_back(metric_word(view(labels[i].key)), view(labels[i].value));
  const std::uint64_t id = environment_.metrics().define(definition);
  metrics_.push_back(id);
  return id;
}

const tg_host_log log_service = {
    .size = sizeof(tg_host_log), .reserved = 0, .enabled = enabled, .write = write};
const tg_host_metrics metrics_service = {.size = sizeof(tg_host_metrics),
                                         .reserved = 0,
                                         .counter = counter,
                                         .gauge = gauge,
                                         .histogram = histogram,
                                         .add = add,
                                         .set = set,
                                         .observe = observe};

}  // namespace tidegate::plugin
