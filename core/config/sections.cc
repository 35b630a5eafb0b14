// Every section of the configuration, once: keys, types, ranges and what they mean. Defaults are read from
// the structs.
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "config/config.h"
#include "config/document.h"
#include "config/schema.h"

namespace tidegate::config {
namespace {

using std::chrono_literals::operator""h;  // NOLINT(misc-unused-using-decls): 24h is not seen

// How each C++ type of a member is described, printed as a default, and read from a checked node.
template <class T>
struct Kind;

template <>
struct Kind<bool> {
  static constexpr Type type = Type::boolean;
  static std::string print(bool value) { return value ? "true" : "false"; }
  static bool read(const Node& node) { return node.text()[0] == 't' || node.text()[0] == 'T'; }
};

template <>
struct Kind<std::uint32_t> {
  static constexpr Type type = Type::integer;
  static std::string print(std::uint32_t value) { return std::to_string(value); }
  static std::uint32_t read(const Node& node) {
    return static_cast<std::uint32_t>(parse_integer(node.text()).value_or(0));  // 0 for `auto`
  }
};

template <>
struct Kind<double> {
  static constexpr Type type = Type::number;
  static std::string print(double value) {
    std::string text = std::to_string(value);
    while (text.ends_with('0')) text.pop_back();
    return text.ends_with('.') ? text + "0" : text;
  }
  static double read(const Node& node) { return parse_number(node.text()).value_or(0); }
};

template <>
struct Kind<std::string> {
  static constexpr Type type = Type::string;
  static std::string print(const std::string& value) { return value.empty() ? "" : yaml_text(value); }
  static std::string read(const Node& node) { return node.text(); }
};

template <>
struct Kind<std::uint64_t> {
  static constexpr Type type = Type::size;
  static std::string print(std::uint64_t value) { return format_size(value); }
  static std::uint64_t read(const Node& node) { return parse_size(node.text()).value_or(0); }
};

template <>
struct Kind<Milliseconds> {
  static constexpr Type type = Type::duration;
  static std::string print(Milliseconds value) { return format_duration(value); }
  static Milliseconds read(const Node& node) { return parse_duration(node.text()).value_or(0ms); }
};

template <>
struct Kind<std::optional<Milliseconds>> {
  static constexpr Type type = Type::duration;
  static std::string print(std::optional<Milliseconds> value) { return value ? format_duration(*value) : ""; }
  static std::optional<Milliseconds> read(const Node& node) { return parse_duration(node.text()); }
};

template <>
struct Kind<Address> {
  static constexpr Type type = Type::address;
  static std::string print(const Address& value) { return yaml_text(value.to_string()); }
  static Address read(const Node& node) { return parse_address(node.text()).address.value_or(Address{}); }
};

template <class T>
struct Kind<std::vector<T>> {
  static constexpr Type type = std::is_same_v<T, std::string> ? Type::strings : Type::integers;
  static std::string print(const std::vector<T>& values) {
    std::string out;
    for (const auto& value : values) out += (out.empty() ? "" : ", ") + Kind<T>::print(value);
    return "[" + out + "]";
  }
  static std::vector<T> read(const Node& node) {
    if (!node.is_sequence()) return {Kind<T>::read(node)};
    std::vector<T> values;
    for (const auto& item : node.items()) values.push_back(Kind<T>::read(item));
    return values;
  }
};

struct Limits {
  std::optional<double> minimum{}, maximum{};
};

Limits between(double low, double high) { return {low, high}; }
Limits between(Milliseconds low, Milliseconds high) {
  return {static_cast<double>(low.count()), static_cast<double>(high.count())};
}

template <class Owner, class T>
Field member(const std::string& key, T Owner::*place, const std::string& doc, Limits limits = {}) {
  Field field{.key = key, .type = Kind<T>::type, .doc = doc};
  field.default_text = Kind<T>::print(Owner{}.*place);
  field.minimum = limits.minimum;
  field.maximum = limits.maximum;
  field.unit = field.type == Type::size ? "bytes" : field.type == Type::duration ? "time" : "";
  field.store = [place](void* owner, const Node& node, const std::string&, Diagnostics&) {
    static_cast<Owner*>(owner)->*place = Kind<T>::read(node);
  };
  return field;
}

template <class Owner, class Enum>
Field choice(std::string key, Enum Owner::*place, std::vector<std::string> words, std::string doc) {
  Field field{.key = std::move(key), .type = Type::choice, .doc = std::move(doc)};
  field.default_text = words[static_cast<std::size_t>(Owner{}.*place)];
  field.choices = words;
  field.store = [place, words = std::move(words)](void* owner, const Node& node, const std::string&,
                                                  Diagnostics&) {
    for (std::size_t i = 0; i < words.size(); ++i)
      if (words[i] == node.text()) static_cast<Owner*>(owner)->*place = static_cast<Enum>(i);
  };
  return field;
}

template <class Owner>
Field secret(std::string key, Secret Owner::*place, std::string doc) {
  Field field{.key = std::move(key), .type = Type::string, .doc = std::move(doc), .secret = true};
  field.store = [place](void* owner, const Node& node, const std::string& path, Diagnostics& diagnostics) {
    SecretResult result = resolve_secret(node.text());
    if (!result.ok)
      diagnostics.error(node.mark(), path, result.error);
    else if (result.value.empty())  // an empty one would open what it is to guard
      diagnostics.error(node.mark(), path,
                        "expected a secret, found an empty one; set it, or leave this key out");
    else
      static_cast<Owner*>(owner)->*place = Secret(std::move(result.value));
  };
  return field;
}

template <class Owner, class T>
Field section(std::string key, T Owner::*place, std::string doc, std::vector<Field> fields) {
  Field field{
      .key = std::move(key), .type = Type::section, .doc = std::move(doc), .fields = std::move(fields)};
  field.enter = [place](void* owner) { return &(static_cast<Owner*>(owner)->*place); };
  return field;
}

template <class Owner, class T>
Field list(std::string key, std::vector<T> Owner::*place, std::string doc, std::vector<Field> fields) {
  Field field{
      .key = std::move(key), .type = Type::section_list, .doc = std::move(doc), .fields = std::move(fields)};
  field.enter = [place](void* owner) { return &(static_cast<Owner*>(owner)->*place).emplace_back(); };
  return field;
}

void store_plugin_name(PluginRef& ref, const Node& node, const std::string& path) {
  ref.plugin = node.text();
  ref.where = node.mark();
  ref.path = path;
}

// The two members of a plugin's section. `reach` finds the PluginRef in the struct that holds them.
std::vector<Field> plugin_fields(const std::function<PluginRef&(void*)>& reach) {
  Field name{.key = "plugin",
             .doc = "the plugin's name, or with a slash the exact path of its file",
             .required = true};
  name.store = [reach](void* owner, const Node& node, const std::string& path, Diagnostics&) {
    const std::string section = path.substr(0, path.rfind('.'));
    store_plugin_name(reach(owner), node, section + ".config");
  };
  Field config{
      .key = "config", .type = Type::opaque, .doc = "its own section, checked by the plugin's schema"};
  config.default_text = "{}";
  config.store = [reach](void* owner, const Node& node, const std::string&, Diagnostics&) {
    reach(owner).config = node;
  };
  return {name, config};
}

template <class Owner>
Field plugin(std::string key, PluginRef Owner::*place, std::string doc) {
  Field field{.key = std::move(key), .type = Type::plugin, .doc = std::move(doc)};
  field.default_text = (Owner{}.*place).plugin;
  field.fields = plugin_fields([](void* ref) -> PluginRef& { return *static_cast<PluginRef*>(ref); });
  field.enter = [place](void* owner) { return &(static_cast<Owner*>(owner)->*place); };
  field.store = [place](void* owner, const Node& node, const std::string& path, Diagnostics&) {
    store_plugin_name(static_cast<Owner*>(owner)->*place, node, path + ".config");
  };
  return field;
}

constexpr double million = 1e6;

Field server_section() {
  using S = ServerConfig;
  using T = ServerTimeouts;
  Field threads = member("threads", &S::threads, "I/O threads; auto is one a core", between(1, 1024));
  threads.type = Type::threads;
  threads.default_text = "auto";
  return section(
      "server", &Config::server, "The data plane: where clients connect, and what they may send.",
      {member("listen", &S::listen, "address of the data plane"), threads,
       member("max_body", &S::max_body, "largest request body; above it 413",
              between(1024, double(1ull << 40))),
       member("body_budget", &S::body_budget, "all buffered request bodies together; above it 503",
              between(1024, double(1ull << 44))),
       member("max_head", &S::max_head, "request line and headers together; above it 431",
              between(1024, double(1ull << 24))),
       member("max_headers", &S::max_headers, "headers in a request; above it 431", between(8, 10'000)),
       member("max_connections", &S::max_connections,
              "open client connections, above it 503; what descriptor_share leaves may bound them sooner",
              between(1, 10 * million)),
       member(
           "min_body_rate", &S::min_body_rate,
           "bytes a second of a request's body on average, timeouts.body granted; below it 408, 0 for none",
           between(0, double(1ull << 40))),
       member("drain", &S::drain, "how long SIGTERM waits for open requests before it ends them",
              between(0ms, 24h)),
       section(
           "timeouts", &S::timeouts, "Time limits towards clients.",
           {member("header", &T::header, "for a whole request head", between(10ms, 1h)),
            member("body", &T::body, "between two pieces of a request body", between(10ms, 1h)),
            member("idle", &T::idle, "a kept-alive connection without a request", between(10ms, 24h)),
            member("write", &T::write, "a client that takes nothing of its response", between(10ms, 24h))})});
}

Field control_section() {
  return section("control", &Config::control, "The administration endpoints, on a thread of their own.",
                 {member("listen", &ControlConfig::listen, "address, off for none; may be the server's own"),
                  secret("token", &ControlConfig::token,
                         "bearer token for writing; ${ENV} or file:/path keep it out of here")});
}

Field log_section() {
  using S = LogConfig;
  return section(
      "log", &Config::log, "What the gateway writes about itself, and about each request.",
      {choice("level", &S::level, {"trace", "debug", "info", "warning", "error"}, "least severity written"),
       choice("format", &S::format, {"json", "text"}, "one line a message in this form"),
       member("access", &S::access, "access log: off, stderr or a file's path")});
}

Field plugins_section() {
  using S = PluginsConfig;
  return section(
      "plugins", &Config::plugins, "Where plugins are found, and when they count as stuck.",
      {member("path", &S::path, "folders, searched in this order before the packaged one"),
       member("allow_draft", &S::allow_draft, "load components of interfaces that may still change"),
       member("slow_call", &S::slow_call,
              "a call longer than this is named in the log; made for a request, it puts the instance into "
              "quarantine",
              between(1ms, 1h)),
       member("call_budget", &S::call_budget,
              "what a call made for a request may take; an instance whose p99 is over it goes into "
              "quarantine (transforms of bodies are not judged)",
              between(1ms, 1h)),
       member("stalled", &S::stalled, "a call longer than this fails /liveness", between(100ms, 24h))});
}

Field upstream_section() {
  using S = UpstreamConfig;
  return section(
      "upstream", &Config::upstream, "Connections to the engines.",
      {member("connect_timeout", &S::connect_timeout, "for a connection to be made", between(1ms, 1h)),
       member("first_byte_timeout", &S::first_byte_timeout,
              "from the request to the first byte of the answer", between(1ms, 24h)),
       member("idle_timeout", &S::idle_timeout, "between two pieces of an answer", between(1ms, 24h)),
       member("keep_alive_idle", &S::keep_alive_idle,
              "how long an unused connection is kept; below the engine's own limit", between(0ms, 1h)),
       member("resolve_interval", &S::resolve_interval,
              "between two look-ups of an engine's name, and two readings of its key", between(50ms, 24h)),
       member("max_idle_per_worker", &S::max_idle_per_worker, "unused connections kept for a worker",
              between(0, million)),
       member("descriptor_share", &S::descriptor_share,
              "share of the process's descriptors for connections to engines", between(0.05, 0.9))});
}

Field health_section() {
  using S = HealthConfig;
  return section("health", &Config::health, "Active checks of the engines.",
                 {member("enabled", &S::enabled, "whether to check"),
                  member("path", &S::path, "what is asked of an engine with GET"),
                  member("interval", &S::interval, "between two checks of an engine", between(10ms, 24h)),
                  member("timeout", &S::timeout, "for an answer", between(10ms, 1h)),
                  member("failures", &S::failures, "in a row make an engine unhealthy", between(1, 1000)),
                  member("successes", &S::successes, "in a row make it healthy again", between(1, 1000)),
                  member("concurrency", &S::concurrency, "checks at the same time", between(1, 10'000))});
}

Field discovery_section() {
  std::vector<Field> fields =
      plugin_fields([](void* owner) -> PluginRef& { return static_cast<DiscoveryConfig*>(owner)->source; });
  fields.insert(fields.begin() + 1, member("name", &DiscoveryConfig::name,
                                           "name of this source, unique; by default the plugin's"));
  return list("discovery", &Config::discovery, "Where workers are found; all sources together.",
              std::move(fields));
}

Field routes_section() {
  using S = RouteConfig;
  using T = RouteTimeouts;
  return list(
      "routes", &Config::routes, "Which policy serves which requests; the first match wins.",
      {member("name", &S::name, "name in logs and metrics, unique; by default its model globs"),
       section("match", &S::match, "What must hold; all of it.",
               {member("model", &RouteMatch::model, "globs of the model's name, any of them"),
                member("path", &RouteMatch::path, "glob of the request's path")}),
       plugin("policy", &S::policy, "the policy that picks the worker"),
       plugin("fallback", &S::fallback, "the policy that picks when the first one fails"),
       section("retry", &S::retry, "Another attempt on another worker, before the first byte of an answer.",
               {member("attempts", &RetryConfig::attempts, "in all, the first one included", between(1, 16)),
                member("statuses", &RetryConfig::statuses, "an engine's answers that lead to another attempt",
                       between(400, 599))}),
       member(
           "wait", &S::wait,
           "how long a request waits for a worker, when its policy lets it wait or the workers' first health "
           "checks are under way; then it gets a 503",
           between(0ms, 1h)),
       section(
           "timeouts", &S::timeouts, "Limits of this route instead of upstream's.",
           {member("connect", &T::connect, "instead of upstream.connect_timeout", between(1ms, 1h)),
            member("first_byte", &T::first_byte, "instead of upstream.first_byte_timeout", between(1ms, 24h)),
            member("idle", &T::idle, "instead of upstream.idle_timeout", between(1ms, 24h))})});
}

}  // namespace

const Field& config_schema() {
  static const Field schema{
      .type = Type::section,
      .doc = "Tidegate's configuration",
      .fields = {server_section(), control_section(),
                 section("metrics", &Config::metrics, "Prometheus metrics.",
                         {member("listen", &MetricsConfig::listen, "address of /metrics, off for none")}),
                 log_section(), plugins_section(), upstream_section(), health_section(), discovery_section(),
                 routes_section()}};
  return schema;
}

}  // namespace tidegate::config
