#include "config/schema.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/config.h"

namespace tidegate::config {

// Longer than a function should be: it is one table, a mistake a line.
TEST_CASE("every mistake is an error with place, path, expected, found and what to do") {
  struct Case {
    std::string yaml, error;
  };
  const std::string address = "expected an address such as 0.0.0.0:30000, [::]:30000, :30000 or off, found ";
  const std::vector<Case> cases{
      // unknown and missing keys
      {"sever: {}", "1:1: sever: unknown key 'sever'; did you mean 'server'?"},
      {"banana: {}",
       "1:1: banana: unknown key 'banana'; known keys: server, control, metrics, log, plugins, upstream, "
       "health, "
       "discovery, routes"},
      {"server: {timeouts: {haeder: 1s}}",
       "1:21: server.timeouts.haeder: unknown key 'haeder'; did you mean 'header'?"},
      {"routes:\n- policy:\n    plugin: x\n    plugn: y",
       "4:5: routes[0].policy.plugn: unknown key 'plugn'; did you mean 'plugin'?"},
      {"server: {x-y: 1}",
       "1:10: server.x-y: unknown key 'x-y'; known keys: listen, threads, max_body, body_budget, max_head, "
       "max_headers, "
       "max_connections, min_body_rate, drain, timeouts"},
      {"discovery: [{name: a}]",
       "1:13: discovery[0]: the key 'plugin' is missing; it is the plugin's name, or with a slash the exact "
       "path of its "
       "file"},
      // wrong types
      {"server: [1]", "1:9: server: expected a map, found a list"},
      {"server: hunter2", "1:9: server: expected a map, found the string 'hunter2'"},
      {"routes: {policy: x}", "1:9: routes: expected a list, found a map; begin each item with '- '"},
      {"routes: [x]", "1:10: routes[0]: expected a map, found the string 'x'"},
      {"server: {listen: [1]}",
       "1:18: server.listen: expected an address such as 0.0.0.0:30000, found a list"},
      {"server: {listen: }", "1:10: server.listen: expected an address such as 0.0.0.0:30000, found nothing"},
      {"server: {max_headers: \"64\"}",
       "1:23: server.max_headers: expected a whole number, found the string '64'; remove the quotes"},
      {"server: {max_headers: 6.5}",
       "1:23: server.max_headers: expected a whole number, found the number 6.5"},
      {"server: {threads: many}",
       "1:19: server.threads: expected a whole number or auto, found the string 'many'"},
      {"health: {enabled: yes}", "1:19: health.enabled: expected true or false, found the string 'yes'"},
      {"health: {enabled: \"true\"}",
       "1:19: health.enabled: expected true or false, found the string 'true'; remove the quotes"},
      {"upstream: {descriptor_share: half}",
       "1:30: upstream.descriptor_share: expected a number, found the string 'half'"},
      {"server: {drain: 5}",
       "1:17: server.drain: expected a duration such as 250ms, 5s or 2m, found the number 5; add a unit: ms, "
       "s, m, h or d"},
      {"server: {max_body: big}",
       "1:20: server.max_body: expected a size such as 4096, 10k or 64MiB, found the string 'big'"},
      {"log: {level: warn}",
       "1:14: log.level: expected one of trace, debug, info, warning, error, found the string 'warn'"},
      {"log: {format: jsno}",
       "1:15: log.format: expected one of json, text, found the string 'jsno'; did you mean 'json'?"},
      {"health: {path: ''}", "1:16: health.path: expected a text, found an empty text"},
      {"plugins: {path: [/a, [b]]}", "1:22: plugins.path[1]: expected a text, found a list"},
      {"routes: [{policy: [x]}]",
       "1:19: routes[0].policy: expected a plugin's name, or a map with plugin and config, found a list"},
      {"routes: [{policy: {plugin: x, config: 3}}]",
       "1:39: routes[0].policy.config: expected a map, found the number 3"},
      // addresses
      {"server: {listen: 'unix:/run/x'}",
       "1:18: server.listen: " + address +
           "'unix:/run/x': unix sockets are not supported; listen on loopback instead: 127.0.0.1:30000"},
      {"server: {listen: 30000}",
       "1:18: server.listen: " + address + "'30000'; write ':30000' for all interfaces"},
      {"server: {listen: off}",
       "1:18: server.listen: expected an address, found off; the data plane cannot be off"},
      {"metrics: {listen: ':30000'}",
       "1:19: metrics.listen: expected an address of its own, found 0.0.0.0:30000, which is also "
       "server.listen or "
       "control.listen; choose another port"},
      // ranges
      {"server: {threads: 0}", "1:19: server.threads: expected 1 to 1024, found the number 0"},
      {"server: {max_body: 5}", "1:20: server.max_body: expected 1KiB to 1TiB, found the number 5"},
      {"health: {interval: 1ms}", "1:20: health.interval: expected 10ms to 24h, found the string '1ms'"},
      {"health: {failures: -1}", "1:20: health.failures: expected 1 to 1000, found the number -1"},
      {"upstream: {descriptor_share: 2}",
       "1:30: upstream.descriptor_share: expected 0.05 to 0.9, found the number 2"},
      {"routes: [{retry: {statuses: [503, 200]}}]",
       "1:35: routes[0].retry.statuses[1]: expected 400 to 599, found the number 200"},
      // what spans several values
      {"server: {max_body: 2GiB}",
       "1:20: server.max_body: expected at most server.body_budget (1GiB), found 2GiB; raise the budget or "
       "lower max_body"},
      {"plugins: {stalled: 100ms, slow_call: 1s}",
       "1:38: plugins.slow_call: expected at most plugins.stalled (100ms), found 1s"},
      {"health: {path: health}",
       "1:16: health.path: expected a path that begins with '/', found the string 'health'"},
      {"log: {access: on}",
       "1:15: log.access: expected off, stderr or a file's path with a '/', found the string 'on'"},
      {"routes: [{name: a}, {name: a, match: {model: x}}]",
       "1:28: routes[1].name: expected a name of its own, found one that routes[0] has too"},
      {"routes: [{match: {model: []}}]",
       "1:10: routes[0].match.model: expected at least one glob, found an empty list; write \"*\" for every "
       "model"},
  };
  for (const auto& [yaml, error] : cases) {
    CAPTURE(yaml);
    const auto result = parse_config(yaml, "tidegate.yaml");
    CHECK_FALSE(result.config);
    REQUIRE(result.errors.size() == 1);
    CHECK(result.errors[0] == "tidegate.yaml:" + error);
  }
}

TEST_CASE("the JSON Schema is JSON and knows every section, default and secret") {
  const auto schema = nlohmann::json::parse(schema_json());
  CHECK(schema["properties"].size() == config_schema().fields.size());
  CHECK(schema["additionalProperties"] == false);
  CHECK(schema["properties"]["server"]["properties"]["max_headers"]["default"] == 128);
  CHECK(schema["properties"]["control"]["properties"]["token"]["writeOnly"] == true);
  CHECK(schema["properties"]["discovery"]["items"]["required"] == nlohmann::json::array({"plugin"}));
  CHECK(schema["properties"]["routes"]["items"]["properties"]["retry"]["properties"]["statuses"]["default"] ==
        nlohmann::json::array({502, 503}));
}

TEST_CASE("every field is documented") {
  const std::string reference = reference_markdown();
  const auto visit = [&](const auto& self, const Field& field) -> void {
    CAPTURE(field.key);
    CHECK_FALSE(field.doc.empty());
    if (!field.key.empty()) CHECK(reference.find(field.key) != std::string::npos);
    for (const auto& member : field.fields) self(self, member);
  };
  visit(visit, config_schema());
}

}  // namespace tidegate::config
