// What: the configuration the gateway works with, as plain structs, and load_config(), which fills them from
// YAML. Threads: a Config is built on the control thread and immutable once published; no shared state.
// Ownership: values throughout. PluginRef::config keeps the section as written, for the plugin's own schema
// to judge. Errors: all of them collected, each a line ready to print: "F:12:5: routes[0].policy.plugn:
// unknown key 'plugn'; ...".
//
// A default stands once, here, as the member's initializer; the schema (schema.h) reads it from a
// default-constructed struct.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/node.h"
#include "config/values.h"

namespace tidegate::config {

using Milliseconds = std::chrono::milliseconds;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

// A value that does not print itself.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  bool empty() const { return value_.empty(); }
  const std::string& reveal() const { return value_; }

 private:
  std::string value_;
};

struct ServerTimeouts {
  Milliseconds header = 10s, body = 60s, idle = 75s, write = 60s;
};
struct ServerConfig {
  Address listen{"0.0.0.0", 30000};
  std::uint32_t threads = 0;  // 0: auto; see effective_threads()
  std::uint64_t max_body = 64ull << 20;
  std::uint64_t body_budget = 1ull << 30;  // all buffered bodies together
  std::uint64_t max_head = 64ull << 10;
  std::uint32_t max_headers = 128;
  std::uint32_t max_connections = 100'000;
  std::uint64_t min_body_rate = 1024;  // bytes a second
  Milliseconds drain = 30s;
  ServerTimeouts timeouts;
};
struct ControlConfig {
  Address listen{"127.0.0.1", 30090};  // may equal server.listen
  Secret token;
};
struct MetricsConfig {
  Address listen{"127.0.0.1", 29000};
};
enum class LogLevel : std::uint8_t { trace, debug, info, warning, error };
enum class LogFormat : std::uint8_t { json, text };
struct LogConfig {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::json;
  std::string access = "off";  // "off", "stderr" or a file's path
};
struct PluginsConfig {
  std::vector<std::string> path{"/usr/local/lib/tidegate/plugins"};  // searched before the packaged directory
  bool allow_draft = false;
  Milliseconds slow_call = 100ms, stalled = 10s;
  Milliseconds call_budget = 1ms;  // of one [request] call
};
struct UpstreamConfig {
  Milliseconds connect_timeout = 5s, first_byte_timeout = 300s, idle_timeout = 60s, keep_alive_idle = 4s;
  std::uint32_t max_idle_per_worker = 64;
  Milliseconds resolve_interval = 30s;  // between two look-ups of a worker's name
  double descriptor_share = 0.45;       // of the process's limit, for connections to workers
};
struct HealthConfig {
  bool enabled = true;
  std::string path = "/health";
  Milliseconds interval = 5s, timeout = 2s;
  std::uint32_t failures = 3, successes = 2, concurrency = 64;
};

// A plugin by name and its section. `path` ("routes[0].policy.config") is for errors found later by the
// plugin's schema.
struct PluginRef {
  std::string plugin;
  Node config;
  std::string path;
  Mark where;
};
struct DiscoveryConfig {
  std::string name;  // unique; the plugin's name by default
  PluginRef source;
};
struct RouteMatch {
  std::vector<std::string> model{"*"};  // globs, any of them
  std::string path = "*";               // glob over the request's path
};
struct RetryConfig {
  std::uint32_t attempts = 3;                     // the first one included
  std::vector<std::uint32_t> statuses{502, 503};  // an engine's answers that are tried on another worker
};
struct RouteTimeouts {  // each overrides upstream's
  std::optional<Milliseconds> connect, first_byte, idle;
};
struct RouteConfig {
  std::string name;  // unique; the model globs by default
  RouteMatch match;
  PluginRef policy{"power_of_two"}, fallback{"round_robin"};
  RetryConfig retry;
  Milliseconds wait{10'000};  // for a worker, when the policy says so
  RouteTimeouts timeouts;
};
struct Config {
  ServerConfig server;
  ControlConfig control;
  MetricsConfig metrics;
  LogConfig log;
  PluginsConfig plugins;
  UpstreamConfig upstream;
  HealthConfig health;
  std::vector<DiscoveryConfig> discovery;
  std::vector<RouteConfig> routes;  // never empty after load_config: without any, one for `*`
};

struct LoadResult {
  std::optional<Config> config;  // empty when there are errors
  std::vector<std::string> errors, warnings;
  std::string effective;  // YAML with every default filled in and every secret hidden (`--print-config`)
};
LoadResult load_config(const std::string& path);
LoadResult parse_config(std::string_view yaml, const std::string& name);  // one text, without conf.d

bool route_matches(const RouteMatch& match, std::string_view model, std::string_view path) noexcept;
std::uint32_t effective_threads(const ServerConfig& server);  // threads, or one a core the process may use

}  // namespace tidegate::config
