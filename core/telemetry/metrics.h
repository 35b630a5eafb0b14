// What: the gateway's own metric families, with their label sets resolved to handles beforehand: the hot path
// adds to an index. Threads: GatewayMetrics' functions [control]; the structs they give are read and added to
// by any thread. Ownership: endpoint() is for ever. route(), worker(), plugin(), discovery() are shared with
// the view that uses them: with the
//   last reference the series go. The same labels asked for again give the same cells.
// Errors: std::invalid_argument from the registry only when two families disagree, which is a mistake of
// ours.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "telemetry/registry.h"

namespace tidegate::telemetry {

// Status codes told apart in labels; others are counted under their class ("4xx").
inline constexpr std::array<uint16_t, 24> known_codes = {200, 201, 202, 204, 400, 401, 403, 404,
                                                         405, 408, 409, 413, 415, 422, 424, 429,
                                                         431, 499, 500, 501, 502, 503, 504, 529};
inline constexpr uint32_t code_count = known_codes.size() + 6;  // then 1xx..5xx and "other"
uint32_t code_index(int status) noexcept;                       // below code_count
std::string code_label(uint32_t index);

enum class WorkerError : uint8_t { connect, timeout, reset, protocol, status_5xx, status_4xx, health };
inline constexpr uint32_t worker_error_count = 7;
enum class LegOutcome : uint8_t { done, refused, failed, timeout, cancelled, dropped };
inline constexpr uint32_t leg_outcome_count = 6;

struct EndpointMetrics {                     // {endpoint, method}
  std::array<Counter, code_count> requests;  // by code_index(status): requests_total
  Histogram duration;                        // request_duration_seconds
  void done(int status, double seconds) const noexcept {
    requests[code_index(status)].add();
    duration.observe(seconds);
  }
};
struct RouteMetrics {               // {route, model}
  std::array<Counter, 6> requests;  // by status / 100, else 0: route_requests_total{class}
  Histogram ttft, inter_token;      // seconds
  Counter tokens_prompt, tokens_output, tokens_cached;  // as `usage` says: tokens_total{source="usage"}
  Counter events_output;  // stream events, where no usage was: {kind="output",source="events"}
  Counter retries, fallbacks, no_worker;
  Leases leases;
};
struct WorkerMetrics {                             // {worker}
  Counter requests;                                // legs sent
  std::array<Counter, worker_error_count> errors;  // by WorkerError
  Histogram ttft, connect;                         // seconds
  Leases leases;
};
struct PluginCallMetrics {  // {plugin, instance}
  Counter slips;
  Counter lock_waits, lock_wait_seconds;  // calls of an instance that is not CONCURRENT
  Counter timed_calls, timed_seconds;     // a sample of its calls on the request path
  Gauge quarantined;
  Leases leases;
};
struct DiscoveryMetrics {                          // {source}
  Gauge workers, healthy, last_success_timestamp;  // what it lists; 1 while it works; unix seconds
  Counter updates, failures;
  Leases leases;
};
struct LoopMetrics {                   // {loop}: written by that loop only
  Counter busy_seconds, wait_seconds;  // busy ratio = rate(busy) / (rate(busy) + rate(wait))
  Histogram delay;                     // seconds from due to run
  Leases leases;
};

struct BuildInfo {
  std::string version, commit, compiler;
};

// process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds, ..., as every exporter names
// them.
void add_process_metrics(MetricsRegistry& registry);

class GatewayMetrics {
 public:
  GatewayMetrics(MetricsRegistry& registry,
                 const BuildInfo& build);  // registers process_* and build_info as well
  MetricsRegistry& registry() noexcept { return registry_; }

  const EndpointMetrics& endpoint(const std::string& endpoint, const std::string& method);
  std::shared_ptr<const RouteMetrics> route(const std::string& route, const std::string& model);
  std::shared_ptr<const WorkerMetrics> worker(const std::string& worker);
  std::shared_ptr<const PluginCallMetrics> plugin(const std::string& plugin, const std::string& instance);
  std::shared_ptr<const DiscoveryMetrics> discovery(const std::string& source);
  std::shared_ptr<const LoopMetrics> loop(uint32_t number);
  Counter protocol_error(const std::string& code);  // protocol_errors_total{code}; ask once, beforehand
  void reload_done(bool ok,
                   double unix_seconds);  // config_reloads_total{result}, ..._success_timestamp_seconds

  void loaded(double unix_seconds);  // the start: the same gauge, no reload

  // Values read from live records when collected: worker_inflight{worker}, worker_state{worker} as
  // TG_WORKER_*.
  using Emit = MetricsRegistry::Emit;
  void watch_worker_inflight(std::function<void(const Emit&)> read, Leases* keep = nullptr);
  void watch_worker_state(std::function<void(const Emit&)> read, Leases* keep = nullptr);

  // A number without labels that stands elsewhere, such as the access log's dropped lines.
  void watch_number(const std::string& name, const std::string& help, Kind kind, std::function<double()> read,
                    Leases* keep = nullptr);

  // No labels but the fixed ones named here.
  Histogram overhead;                              // gateway_overhead_seconds: own time of a request
  Histogram attempts;                              // attempts a request
  Counter retries;                                 // retries_total
  std::array<Counter, leg_outcome_count> legs;     // plan_legs_total{outcome}, by LegOutcome
  UpDown requests_inflight, streams, connections;  // open now
  Counter connections_accepted, connections_refused;
  UpDown upstream_busy, upstream_idle;  // upstream_connections{state}
  Histogram upstream_connect;           // upstream_connect_seconds
  UpDown body_bytes_buffered;
  Counter client_cancelled;  // the client left before its answer's end

 private:
  struct Families;
  MetricsRegistry& registry_;
  std::unique_ptr<Families> families_;

 public:
  ~GatewayMetrics();
};

}  // namespace tidegate::telemetry
