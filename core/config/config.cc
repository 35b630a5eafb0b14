#include "config/config.h"

#include <sched.h>

#include <algorithm>
#include <map>
#include <string>

#include "config/document.h"
#include "config/schema.h"

namespace tidegate::config {
namespace {

std::string item(std::string_view list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

// The place of a value, else of the nearest section around it that is written.
Mark place(const Node& root, std::string_view pointer) {
  while (true) {
    const Node* node = root.at_pointer(pointer);
    if (node != nullptr || pointer.empty()) return node != nullptr ? node->mark() : root.mark();
    pointer = pointer.substr(0, pointer.rfind('/'));
  }
}

void check_addresses(const Config& config, const Node& root, Diagnostics& diagnostics) {
  const auto same = [](const Address& a, const Address& b) { return !a.off && a.port != 0 && a == b; };
  if (config.server.listen.off)
    diagnostics.error(place(root, "/server/listen"), "server.listen",
                      "expected an address, found off; the data plane cannot be off");
  if (same(config.metrics.listen, config.server.listen) || same(config.metrics.listen, config.control.listen))
    diagnostics.error(place(root, "/metrics/listen"), "metrics.listen",
                      "expected an address of its own, found " + config.metrics.listen.to_string() +
                          ", which is also server.listen or control.listen; choose another port");
  const Address& control = config.control.listen;
  if (!control.off && !control.is_loopback() && config.control.token.empty())
    diagnostics.warning(place(root, "/control/listen"), "control.listen",
                        control.to_string() +
                            " is not loopback and control.token is not set: it will only read; set "
                            "a token, or listen on 127.0.0.1");
}

void check_values(const Config& config, const Node& root, Diagnostics& diagnostics) {
  if (config.server.max_body > config.server.body_budget)
    diagnostics.error(place(root, "/server/max_body"), "server.max_body",
                      "expected at most server.body_budget (" + format_size(config.server.body_budget) +
                          "), found " + format_size(config.server.max_body) +
                          "; raise the budget or lower max_body");
  if (!config.health.path.starts_with('/'))
    diagnostics.error(place(root, "/health/path"), "health.path",
                      "expected a path that begins with '/', found " + describe(root["health"]["path"]));
  const std::string& access = config.log.access;
  if (access != "off" && access != "stderr" && access.find('/') == std::string::npos)
    diagnostics.error(
        place(root, "/log/access"), "log.access",
        "expected off, stderr or a file's path with a '/', found " + describe(root["log"]["access"]));
  if (config.plugins.slow_call > config.plugins.stalled)
    diagnostics.error(place(root, "/plugins/slow_call"), "plugins.slow_call",
                      "expected at most plugins.stalled (" + format_duration(config.plugins.stalled) +
                          "), found " + format_duration(config.plugins.slow_call));
  if (config.discovery.empty())
    diagnostics.warning({root.mark().file}, "discovery",
                        "no source of workers; they can only come by POST /workers on the control address");
}

// Gives every element its name; what was given must be unique, what is derived is made so.
template <class T, class Derive>
void settle_names(std::vector<T>& elements, std::string_view list, const Node& root, Derive derive,
                  Diagnostics& diagnostics) {
  std::map<std::string, std::size_t> used;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const std::string& name = elements[i].name;
    if (name.empty()) continue;
    const auto [first, fresh] = used.emplace(name, i);
    if (!fresh)
      diagnostics.error(
          place(root, "/" + std::string(list) + "/" + std::to_string(i) + "/name"), item(list, i) + ".name",
          "expected a name of its own, found one that " + item(list, first->second) + " has too");
  }
  for (std::size_t i = 0; i < elements.size(); ++i) {
    if (!elements[i].name.empty()) continue;
    const std::string base = derive(elements[i]);
    std::string name = base;
    for (std::size_t n = 2; !used.emplace(name, i).second; ++n) name = base + "-" + std::to_string(n);
    elements[i].name = name;
  }
}

std::string joined_models(const RouteConfig& route) {
  std::string name;
  for (const auto& glob : route.match.model) name += (name.empty() ? "" : ",") + glob;
  return name.empty() ? "route" : name;
}

void check_routes(const Config& config, const Node& root, Diagnostics& diagnostics) {
  bool caught_all = false;
  for (std::size_t i = 0; i < config.routes.size(); ++i) {
    const RouteConfig& route = config.routes[i];
    const Mark where = place(root, "/routes/" + std::to_string(i));
    if (route.match.model.empty())
      diagnostics.error(where, item("routes", i) + ".match.model",
                        "expected at least one glob, found an empty list; write \"*\" for every model");
    if (caught_all)
      diagnostics.warning(where, item("routes", i), "never reached: a route before it matches every request");
    const auto& models = route.match.model;
    caught_all = caught_all ||
                 (route.match.path == "*" && std::find(models.begin(), models.end(), "*") != models.end());
  }
}

// Where each element's plugin name stands: filled in for the defaults, which stand nowhere.
void settle_plugins(Config& config, const Node& root) {
  for (std::size_t i = 0; i < config.routes.size(); ++i) {
    RouteConfig& route = config.routes[i];
    const std::string path = item("routes", i);
    const Mark where = place(root, "/routes/" + std::to_string(i));
    if (route.policy.path.empty()) route.policy.path = path + ".policy.config", route.policy.where = where;
    if (route.fallback.path.empty())
      route.fallback.path = path + ".fallback.config", route.fallback.where = where;
  }
}

LoadResult build(Document document) {
  Diagnostics& diagnostics = document.diagnostics;
  const Node& root = document.root;
  Config config;
  read_section(config_schema(), root, "", &config, diagnostics);
  if (diagnostics.ok()) {  // what spans several values is only judged when each is right by itself
    if (config.routes.empty()) config.routes.emplace_back();
    check_addresses(config, root, diagnostics);
    check_values(config, root, diagnostics);
    settle_names(
        config.discovery, "discovery", root, [](const DiscoveryConfig& d) { return d.source.plugin; },
        diagnostics);
    for (std::size_t i = 0; i < config.discovery.size(); ++i)
      if (config.discovery[i].name == "api")
        diagnostics.error(place(root, "/discovery/" + std::to_string(i) + "/name"),
                          item("discovery", i) + ".name",
                          "expected another name than api, which workers added by POST /workers have");
    settle_names(config.routes, "routes", root, joined_models, diagnostics);
    check_routes(config, root, diagnostics);
    settle_plugins(config, root);
  }
  LoadResult result;
  result.errors = diagnostics.errors();
  result.warnings = diagnostics.warnings();
  if (!result.errors.empty()) return result;
  result.config = std::move(config);
  result.effective = effective_yaml(root);
  return result;
}

}  // namespace

LoadResult load_config(const std::string& path) { return build(load_document(path)); }

LoadResult parse_config(std::string_view yaml, const std::string& name) {
  return build(parse_document(yaml, name));
}

bool route_matches(const RouteMatch& match, std::string_view model, std::string_view path) noexcept {
  if (!glob_match(match.path, path)) return false;
  return std::any_of(match.model.begin(), match.model.end(),
                     [&](const std::string& glob) { return glob_match(glob, model); });
}

std::uint32_t effective_threads(const ServerConfig& server) {
  if (server.threads != 0) return server.threads;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&cores)));
}

}  // namespace tidegate::config
