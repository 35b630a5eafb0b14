#include "telemetry/metrics.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "telemetry/log.h"

namespace tidegate::telemetry {
namespace {

const std::vector<double> long_bounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                         2.5,   5,    10,    30,   60,  120,  300};
const std::vector<double> ttft_bounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60};
const std::vector<double> gap_bounds = {0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04,
                                        0.06,  0.1,    0.25,  0.5,  1,     2.5};
const std::vector<double> short_bounds = {1e-5,   2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3,
                                          2.5e-3, 5e-3,   0.01, 0.05, 0.25,   1};
const std::vector<double> attempt_bounds = {1, 2, 3, 4, 5, 8};
const std::vector<double> lock_bounds = {1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1};

constexpr std::array<const char*, worker_error_count> error_names = {
    "connect", "timeout", "reset", "protocol", "status_5xx", "status_4xx", "health"};
constexpr std::array<const char*, leg_outcome_count> leg_names = {"done",    "refused",   "failed",
                                                                  "timeout", "cancelled", "dropped"};
constexpr std::array<const char*, 6> class_names = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};

constexpr std::array<uint8_t, 600> code_table() {
  std::array<uint8_t, 600> table{};
  for (size_t status = 0; status < table.size(); ++status) {
    const size_t others = known_codes.size();
    table[status] = static_cast<uint8_t>(status >= 100 ? others + status / 100 - 1 : others + 5);
  }
  for (size_t i = 0; i < known_codes.size(); ++i) table[known_codes[i]] = static_cast<uint8_t>(i);
  return table;
}
constexpr auto codes = code_table();

}  // namespace

uint32_t code_index(int status) noexcept {
  return status >= 0 && status < static_cast<int>(codes.size()) ? codes[static_cast<size_t>(status)]
                                                                : code_count - 1;
}

std::string code_label(uint32_t index) {
  if (index < known_codes.size()) return std::to_string(known_codes[index]);
  const uint32_t other = index - static_cast<uint32_t>(known_codes.size());
  return other < 5 ? class_names[other + 1] : "other";
}

// Every family with its help, in one place. Names are without the prefix.
struct GatewayMetrics::Families {
  MetricsRegistry& registry;

  Family& add(const char* name, const char* help, Kind kind, std::vector<double> bounds = {},
              bool sparse = false, uint32_t cap = 10000) {
    return registry.family({std::string("tidegate_") + name, help, kind, std::move(bounds), cap, sparse});
  }
  Family& counter(const char* name, const char* help) { return add(name, help, Kind::counter); }
  Family& sparse(const char* name, const char* help, uint32_t cap = 10000) {
    return add(name, help, Kind::counter, {}, true, cap);
  }
  Family& gauge(const char* name, const char* help) { return add(name, help, Kind::gauge); }
  Family& histogram(const char* name, const char* help, const std::vector<double>& bounds,
                    bool sparse = false) {
    return add(name, help, Kind::histogram, bounds, sparse);
  }

  Family& requests = sparse("requests_total", "Requests answered, by endpoint, method and status code");
  Family& duration = histogram("request_duration_seconds",
                               "From the request's head to the answer's last byte", long_bounds, true);
  Family& route_requests =
      sparse("route_requests_total", "Requests answered, by route, model and class of status");
  Family& ttft = histogram("ttft_seconds", "From the request's head to the first byte of the answer's body",
                           ttft_bounds, true);
  Family& gaps = histogram("inter_token_seconds", "Between two events of a stream", gap_bounds, true);
  Family& tokens =
      sparse("tokens_total", "Tokens; source usage: as engines report them, events: stream events counted");
  Family& route_retries = sparse("route_retries_total", "Attempts after the first");
  Family& fallbacks =
      sparse("route_fallbacks_total", "Picks made by the fallback instead of the route's policy");
  Family& no_worker = sparse("route_no_worker_total", "Requests for which no worker was available");
  Family& worker_requests = sparse("worker_requests_total", "Legs sent to a worker", 100000);
  Family& worker_errors = sparse("worker_errors_total", "What went wrong with a worker, by kind", 100000);
  Family& worker_ttft =
      histogram("worker_ttft_seconds", "From a leg's start to the first byte of its body", ttft_bounds, true);
  Family& worker_connect = histogram("worker_connect_seconds",
                                     "Time to connect to a worker, of new connections", short_bounds, true);
  Family& worker_inflight = gauge("worker_inflight", "Legs selected for a worker and not ended");
  Family& worker_state = gauge("worker_state", "0 starting, 1 ready, 2 draining, 3 unhealthy, 4 gone");
  Family& plugin_slips =
      counter("plugin_slips_total", "Calls that failed: errors, exceptions, picks outside the candidates");
  Family& plugin_waits =
      counter("plugin_lock_waits_total", "Calls that waited: the instance takes one at a time");
  Family& plugin_wait_seconds = counter("plugin_lock_wait_seconds_total", "What those waits took together");
  Family& plugin_timed =
      counter("plugin_timed_calls_total", "Calls on the request path that were timed: one in 61");
  Family& plugin_seconds = counter("plugin_timed_call_seconds_total", "What the timed calls took together");
  Family& plugin_quarantined = gauge("plugin_quarantined", "1: the instance is not called any more");
  Family& discovery_workers = gauge("discovery_workers", "Workers that a source lists");
  Family& discovery_healthy = gauge("discovery_healthy", "1: the source works");
  Family& discovery_at =
      gauge("discovery_last_success_timestamp_seconds", "Unix time of a source's last good update");
  Family& discovery_updates = counter("discovery_updates_total", "Updates from a source");
  Family& discovery_failures = counter("discovery_failures_total", "Failures of a source");
  Family& loop_busy = counter("loop_busy_seconds_total", "Processor time of an I/O loop's thread");
  Family& loop_wait = counter("loop_wait_seconds_total", "Time in which an I/O loop's thread did not run");
  Family& loop_delay =
      histogram("loop_delay_seconds", "From the time a timer was due to the time it ran; one sample a second",
                short_bounds);
  Family& protocol =
      sparse("protocol_errors_total", "Requests refused for what they said in HTTP, by error code");
  Family& reloads = counter("config_reloads_total", "Reloads of the configuration");
  Family& reload_at =
      gauge("config_last_reload_success_timestamp_seconds", "Unix time of the last good load");

  Counter reload_ok = registry.counter(reloads, {{"result", "ok"}});
  Counter reload_refused = registry.counter(reloads, {{"result", "refused"}});
  Gauge reload_time = registry.gauge(reload_at);

  std::mutex endpoints_mutex;
  std::map<std::pair<std::string, std::string>, EndpointMetrics> endpoints;
};

GatewayMetrics::GatewayMetrics(MetricsRegistry& registry, const BuildInfo& build)
    : registry_(registry), families_(new Families{registry}) {
  Families& f = *families_;
  MetricsRegistry& r = registry;
  overhead = r.histogram(
      f.histogram("gateway_overhead_seconds",
                  "The gateway's own time: from the request complete to its first leg on the way, and from "
                  "the answer's first bytes to their being sent on; of requests that were sent to a worker",
                  short_bounds));
  attempts = r.histogram(f.histogram("request_attempts", "Attempts a request took", attempt_bounds));
  retries = r.counter(f.counter("retries_total", "Attempts after the first, of all routes"));
  Family& leg_family = f.counter("plan_legs_total", "Legs of route plans, by outcome");
  for (uint32_t i = 0; i < leg_outcome_count; ++i)
    legs[i] = r.counter(leg_family, {{"outcome", leg_names[i]}});
  requests_inflight = r.up_down(f.gauge("requests_inflight", "Requests being worked on"));
  streams = r.up_down(f.gauge("streams", "Streams open to clients"));
  connections = r.up_down(f.gauge("connections", "Client connections open"));
  connections_accepted = r.counter(f.counter("connections_accepted_total", "Client connections accepted"));
  connections_refused = r.counter(
      f.counter("connections_refused_total", "Client connections closed at once, for want of descriptors"));
  Family& upstream = f.gauge("upstream_connections", "Connections to workers, by state");
  upstream_busy = r.up_down(upstream, {{"state", "busy"}});
  upstream_idle = r.up_down(upstream, {{"state", "idle"}});
  upstream_connect =
      r.histogram(f.histogram("upstream_connect_seconds", "Time to connect to workers", short_bounds));
  body_bytes_buffered = r.up_down(f.gauge("body_bytes_buffered", "Bytes of request bodies held in memory"));
  client_cancelled =
      r.counter(f.counter("client_cancelled_total", "Requests whose client left before the answer's end"));
  r.gauge(f.gauge("build_info", "1, with what was built"),
          {{"version", build.version}, {"commit", build.commit}, {"compiler", build.compiler}})
      .set(1);
  watch_number("log_lines_dropped_total", "Lines of the log lost to a full ring", Kind::counter,
               [] { return static_cast<double>(log::dropped()); });
  add_process_metrics(r);
}

GatewayMetrics::~GatewayMetrics() = default;

const EndpointMetrics& GatewayMetrics::endpoint(const std::string& endpoint, const std::string& method) {
  const std::lock_guard lock(families_->endpoints_mutex);
  auto [at, made] = families_->endpoints.try_emplace({endpoint, method});
  if (made) {
    const Labels labels = {{"endpoint", endpoint}, {"method", method}};
    for (uint32_t i = 0; i < code_count; ++i) {
      Labels with_code = labels;
      with_code.emplace_back("code", code_label(i));
      at->second.requests[i] = registry_.counter(families_->requests, with_code);
    }
    at->second.duration = registry_.histogram(families_->duration, labels);
  }
  return at->second;
}

std::shared_ptr<const RouteMetrics> GatewayMetrics::route(const std::string& route,
                                                          const std::string& model) {
  auto made = std::make_shared<RouteMetrics>();
  Families& f = *families_;
  Leases* keep = &made->leases;
  const Labels labels = {{"route", route}, {"model", model}};
  const auto with = [&](std::initializer_list<std::pair<std::string, std::string>> more) {
    Labels all = labels;
    all.insert(all.end(), more);
    return all;
  };
  for (size_t i = 0; i < class_names.size(); ++i) {
    made->requests[i] = registry_.counter(f.route_requests, with({{"class", class_names[i]}}), keep);
  }
  made->ttft = registry_.histogram(f.ttft, labels, keep);
  made->inter_token = registry_.histogram(f.gaps, labels, keep);
  made->tokens_prompt = registry_.counter(f.tokens, with({{"kind", "prompt"}, {"source", "usage"}}), keep);
  made->tokens_output = registry_.counter(f.tokens, with({{"kind", "output"}, {"source", "usage"}}), keep);
  made->tokens_cached = registry_.counter(f.tokens, with({{"kind", "cached"}, {"source", "usage"}}), keep);
  made->events_output = registry_.counter(f.tokens, with({{"kind", "output"}, {"source", "events"}}), keep);
  made->retries = registry_.counter(f.route_retries, labels, keep);
  made->fallbacks = registry_.counter(f.fallbacks, labels, keep);
  made->no_worker = registry_.counter(f.no_worker, labels, keep);
  return made;
}

std::shared_ptr<const WorkerMetrics> GatewayMetrics::worker(const std::string& worker) {
  auto made = std::make_shared<WorkerMetrics>();
  Families& f = *families_;
  const Labels labels = {{"worker", worker}};
  made->requests = registry_.counter(f.worker_requests, labels, &made->leases);
  for (uint32_t i = 0; i < worker_error_count; ++i) {
    made->errors[i] =
        registry_.counter(f.worker_errors, {{"worker", worker}, {"kind", error_names[i]}}, &made->leases);
  }
  made->ttft = registry_.histogram(f.worker_ttft, labels, &made->leases);
  made->connect = registry_.histogram(f.worker_connect, labels, &made->leases);
  return made;
}

std::shared_ptr<const PluginCallMetrics> GatewayMetrics::plugin(const std::string& plugin,
                                                                const std::string& instance) {
  auto made = std::make_shared<PluginCallMetrics>();
  Families& f = *families_;
  const Labels labels = {{"plugin", plugin}, {"instance", instance}};
  made->slips = registry_.counter(f.plugin_slips, labels, &made->leases);
  made->lock_waits = registry_.counter(f.plugin_waits, labels, &made->leases);
  made->lock_wait_seconds = registry_.counter(f.plugin_wait_seconds, labels, &made->leases);
  made->timed_calls = registry_.counter(f.plugin_timed, labels, &made->leases);
  made->timed_seconds = registry_.counter(f.plugin_seconds, labels, &made->leases);
  made->quarantined = registry_.gauge(f.plugin_quarantined, labels, &made->leases);
  return made;
}

std::shared_ptr<const DiscoveryMetrics> GatewayMetrics::discovery(const std::string& source) {
  auto made = std::make_shared<DiscoveryMetrics>();
  Families& f = *families_;
  const Labels labels = {{"source", source}};
  made->workers = registry_.gauge(f.discovery_workers, labels, &made->leases);
  made->healthy = registry_.gauge(f.discovery_healthy, labels, &made->leases);
  made->last_success_timestamp = registry_.gauge(f.discovery_at, labels, &made->leases);
  made->updates = registry_.counter(f.discovery_updates, labels, &made->leases);
  made->failures = registry_.counter(f.discovery_failures, labels, &made->leases);
  return made;
}

std::shared_ptr<const LoopMetrics> GatewayMetrics::loop(uint32_t number) {
  auto made = std::make_shared<LoopMetrics>();
  const Labels labels = {{"loop", std::to_string(number)}};
  made->busy_seconds = registry_.counter(families_->loop_busy, labels, &made->leases);
  made->wait_seconds = registry_.counter(families_->loop_wait, labels, &made->leases);
  made->delay = registry_.histogram(families_->loop_delay, labels, &made->leases);
  return made;
}

Counter GatewayMetrics::protocol_error(const std::string& code) {
  return registry_.counter(families_->protocol, {{"code", code}});
}

void GatewayMetrics::reload_done(bool ok, double unix_seconds) {
  (ok ? families_->reload_ok : families_->reload_refused).add();
  if (ok) families_->reload_time.set(unix_seconds);
}

void GatewayMetrics::loaded(double unix_seconds) { families_->reload_time.set(unix_seconds); }

void GatewayMetrics::watch_worker_inflight(std::function<void(const Emit&)> read, Leases* keep) {
  registry_.watch(families_->worker_inflight, std::move(read), keep);
}
void GatewayMetrics::watch_worker_state(std::function<void(const Emit&)> read, Leases* keep) {
  registry_.watch(families_->worker_state, std::move(read), keep);
}
void GatewayMetrics::watch_number(const std::string& name, const std::string& help, Kind kind,
                                  std::function<double()> read, Leases* keep) {
  Family& family = registry_.family({.name = "tidegate_" + name, .help = help, .kind = kind});
  registry_.watch(
      family, [read = std::move(read)](const Emit& emit) { emit({}, read()); }, keep);
}

}  // namespace tidegate::telemetry
