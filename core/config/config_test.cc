#include "config/config.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "config/schema.h"

namespace tidegate::config {
namespace {

using Lines = std::vector<std::string>;

const std::string source = "discovery: [{plugin: static}]\n";  // its absence would be a warning

std::string read(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

LoadResult parse(const std::string& yaml) { return parse_config(yaml, "tidegate.yaml"); }

}  // namespace

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
       "max_connections, drain, timeouts"},
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
    const auto result = parse(yaml);
    CHECK_FALSE(result.config);
    REQUIRE(result.errors.size() == 1);
    CHECK(result.errors[0] == "tidegate.yaml:" + error);
  }
}

TEST_CASE("all errors are collected, in the file's order") {
  const auto result = parse("routes: [{polcy: x}]\nserver: {threads: x, drain: 5}\nlog: {level: loud}\n");
  REQUIRE(result.errors.size() == 4);
  CHECK(result.errors[0].starts_with("tidegate.yaml:1:11: routes[0].polcy"));
  CHECK(result.errors[1].starts_with("tidegate.yaml:2:19: server.threads"));
  CHECK(result.errors[2].starts_with("tidegate.yaml:2:29: server.drain"));
  CHECK(result.errors[3].starts_with("tidegate.yaml:3:14: log.level"));
}

TEST_CASE("what is odd but works is a warning") {
  CHECK(parse("").warnings == Lines{"tidegate.yaml: discovery: no source of workers; they can only come by "
                                    "POST /workers on the control "
                                    "address"});
  CHECK(parse(source + "control: {listen: ':30090'}").warnings ==
        Lines{"tidegate.yaml:2:19: control.listen: 0.0.0.0:30090 is not loopback and control.token is not "
              "set: it will "
              "only read; set a token, or listen on 127.0.0.1"});
  CHECK(parse(source + "routes:\n- policy: a\n- match: {model: x}").warnings ==
        Lines{"tidegate.yaml:4:3: routes[1]: never reached: a route before it matches every request"});
  CHECK(parse(source + "control: {listen: ':30090', token: abc}").warnings == Lines{});
}

TEST_CASE("an empty file gives the structs' own defaults and one route for every model") {
  const auto result = parse("");
  REQUIRE(result.config);
  CHECK(result.config->server.listen == Address{"0.0.0.0", 30000});
  CHECK(result.config->server.body_budget == 1ull << 30);
  CHECK(result.config->upstream.first_byte_timeout == 300s);
  CHECK(result.config->health.path == "/health");
  REQUIRE(result.config->routes.size() == 1);
  const RouteConfig& route = result.config->routes[0];
  CHECK(route.name == "*");
  CHECK(route.match.model == Lines{"*"});
  CHECK(route.policy.plugin == "power_of_two");
  CHECK(route.fallback.plugin == "round_robin");
  CHECK(route.retry.attempts == 3);
}

TEST_CASE("every default of the schema, written out, changes nothing") {
  // The effective configuration of an empty file names every default; a lost or misread one would change on
  // the way.
  const auto empty = parse("");
  const auto written = parse(empty.effective);
  CAPTURE(empty.effective);
  CHECK(written.errors == Lines{});
  CHECK(written.effective == empty.effective);
  REQUIRE(written.config);
  CHECK(written.config->server.threads == ServerConfig{}.threads);
  CHECK(written.config->server.max_head == ServerConfig{}.max_head);
  CHECK(written.config->server.timeouts.body == ServerTimeouts{}.body);
  CHECK(written.config->log.level == LogConfig{}.level);
  CHECK(written.config->upstream.descriptor_share == UpstreamConfig{}.descriptor_share);
  CHECK(written.config->plugins.path == PluginsConfig{}.path);
  CHECK(written.config->routes[0].retry.statuses == RetryConfig{}.statuses);
}

TEST_CASE("every member is read into its struct") {
  const auto result = parse(R"(
server: {listen: ":1", threads: 3, max_body: 2MiB, body_budget: 3MiB, max_head: 4KiB, max_headers: 9, max_connections: 5,
         drain: 6s, timeouts: {header: 1s, body: 2s, idle: 3s, write: 4s}}
control: {listen: "[::1]:2", token: 12345}
metrics: {listen: off}
log: {level: debug, format: text, access: /var/log/a}
plugins: {path: /p, allow_draft: true, slow_call: 5ms, stalled: 1s}
upstream: {connect_timeout: 1s, first_byte_timeout: 2s, idle_timeout: 3s, keep_alive_idle: 4ms, max_idle_per_worker: 5,
           descriptor_share: 0.6}
health: {enabled: false, path: /h, interval: 1s, timeout: 2s, failures: 4, successes: 5, concurrency: 6}
discovery: [{plugin: static, config: {a: [1]}}, {plugin: static}, {plugin: dns, name: d}]
routes:
- name: r
  match: {model: [a, b-*], path: /v1/*}
  policy: {plugin: pd, config: {prefill: {plugin: cache_aware, config: {threshold: 0.3}}}}
  fallback: random
  retry: {attempts: 1, statuses: 429}
  timeouts: {connect: 1s, first_byte: 2s, idle: 3s}
- match: {model: c}
- match: {model: c, path: /x}
)");
  REQUIRE(result.errors == Lines{});
  const Config& c = *result.config;
  CHECK(c.server.listen == Address{"0.0.0.0", 1});
  CHECK(effective_threads(c.server) == 3);
  CHECK(c.server.max_body == 2u << 20);
  CHECK(c.server.body_budget == 3u << 20);
  CHECK(c.server.max_head == 4096);
  CHECK(c.server.max_headers == 9);
  CHECK(c.server.max_connections == 5);
  CHECK(c.server.drain == 6s);
  CHECK(c.server.timeouts.header == 1s);
  CHECK(c.server.timeouts.body == 2s);
  CHECK(c.server.timeouts.idle == 3s);
  CHECK(c.server.timeouts.write == 4s);
  CHECK(c.control.listen == Address{"::1", 2});
  CHECK(c.control.token.reveal() == "12345");
  CHECK(c.metrics.listen.off);
  CHECK(c.log.level == LogLevel::debug);
  CHECK(c.log.format == LogFormat::text);
  CHECK(c.log.access == "/var/log/a");
  CHECK(c.plugins.path == Lines{"/p"});
  CHECK(c.plugins.allow_draft);
  CHECK(c.plugins.slow_call == 5ms);
  CHECK(c.plugins.stalled == 1s);
  CHECK(c.upstream.connect_timeout == 1s);
  CHECK(c.upstream.first_byte_timeout == 2s);
  CHECK(c.upstream.idle_timeout == 3s);
  CHECK(c.upstream.keep_alive_idle == 4ms);
  CHECK(c.upstream.max_idle_per_worker == 5);
  CHECK(c.upstream.descriptor_share == 0.6);
  CHECK_FALSE(c.health.enabled);
  CHECK(c.health.path == "/h");
  CHECK(c.health.interval == 1s);
  CHECK(c.health.timeout == 2s);
  CHECK(c.health.failures == 4);
  CHECK(c.health.successes == 5);
  CHECK(c.health.concurrency == 6);
  REQUIRE(c.discovery.size() == 3);
  CHECK(c.discovery[0].name == "static");
  CHECK(c.discovery[0].source.path == "discovery[0].config");
  CHECK(to_json(c.discovery[0].source.config) == R"({"a":[1]})");
  CHECK(c.discovery[1].name == "static-2");
  CHECK(c.discovery[2].name == "d");
  REQUIRE(c.routes.size() == 3);
  const RouteConfig& route = c.routes[0];
  CHECK(route.name == "r");
  CHECK(route.match.model == Lines{"a", "b-*"});
  CHECK(route.match.path == "/v1/*");
  CHECK(route.policy.plugin == "pd");
  CHECK(route.policy.path == "routes[0].policy.config");
  CHECK(route.policy.where.line == 15);
  CHECK(to_json(route.policy.config) == R"({"prefill":{"plugin":"cache_aware","config":{"threshold":0.3}}})");
  CHECK(route.fallback.plugin == "random");
  CHECK(route.retry.attempts == 1);
  CHECK(route.retry.statuses == std::vector<std::uint32_t>{429});
  CHECK(route.timeouts.connect == 1s);
  CHECK(route.timeouts.first_byte == 2s);
  CHECK(route.timeouts.idle == 3s);
  CHECK(c.routes[1].name == "c");
  CHECK(c.routes[2].name == "c-2");
  CHECK_FALSE(c.routes[1].timeouts.idle);
}

TEST_CASE("a route matches by model glob and path glob together") {
  const RouteMatch match{{"llama-*", "qwen"}, "/v1/*"};
  CHECK(route_matches(match, "llama-3", "/v1/chat/completions"));
  CHECK(route_matches(match, "qwen", "/v1/completions"));
  CHECK_FALSE(route_matches(match, "qwen2", "/v1/completions"));
  CHECK_FALSE(route_matches(match, "qwen", "/generate"));
}

TEST_CASE("a secret stands in no output") {
  setenv("TIDEGATE_TEST_SECRET", "hunter2", 1);
  const Lines texts{
      "control: {token: hunter2}",
      "control: {token: \"${TIDEGATE_TEST_SECRET}\"}",
      "control: {token: \"${TIDEGATE_TEST_UNSET_SECRET:-hunter2}\"}",
      "control: {token: [hunter2]}",
      "control: {token: {a: hunter2}}",
      "control: {tokn: hunter2}",
      "control: hunter2",
      "control: {token: \"file:/nonexistent/token\"}\nserver: {threads: \"${TIDEGATE_TEST_SECRET}\"}",
      "server: {listen: \"${TIDEGATE_TEST_SECRET}\"}",
      "server: \"${TIDEGATE_TEST_SECRET}\"",
      "log: {level: \"${TIDEGATE_TEST_SECRET}\", access: \"${TIDEGATE_TEST_SECRET}\"}",
      "server: {listen: \":1\ncontrol: {token: hunter2}\n",
      "control: {token: hunter2, token: hunter2}",
      "discovery: [{plugin: k, config: {api_key: hunter2, a: \"${TIDEGATE_TEST_SECRET}\", headers: "
      "{Authorization: "
      "hunter2, X-Api-Key: hunter2}, password: {a: hunter2}, url: \"http://me:hunter2@host/a@b\"}}]",
  };
  for (const auto& text : texts) {
    CAPTURE(text);
    const auto result = parse(text);
    std::string all = result.effective;
    for (const auto& line : result.errors) all += line;
    for (const auto& line : result.warnings) all += line;
    CHECK(all.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("the effective configuration hides secrets and keeps references") {
  setenv("TIDEGATE_TEST_PORT", "9000", 1);
  const auto result = parse(
      "control: {token: abc}\ndiscovery: [{plugin: k, config: {token: \"file:/a/b\", port: "
      "\"${TIDEGATE_TEST_PORT}\", "
      "n: '5', url: \"http://u:p@h/x\"}}]\n");
  REQUIRE(result.config);
  CHECK(result.effective.find("\n  token: \"***\"\n") != std::string::npos);
  CHECK(result.effective.find("  token: file:/a/b\n") != std::string::npos);
  CHECK(result.effective.find("port: \"${TIDEGATE_TEST_PORT}\"\n") != std::string::npos);
  CHECK(result.effective.find("n: \"5\"\n") != std::string::npos);
  CHECK(result.effective.find("url: \"http://***@h/x\"\n") != std::string::npos);
}

TEST_CASE("a token is read from its file") {
  const auto file =
      std::filesystem::temp_directory_path() / ("tidegate-token-" + std::to_string(std::random_device()()));
  std::ofstream(file) << "s3cret\n";
  const auto result = parse("control: {token: \"file:" + file.string() + "\"}");
  std::filesystem::remove(file);
  REQUIRE(result.config);
  CHECK(result.config->control.token.reveal() == "s3cret");
}

TEST_CASE("keys that begin with x- are room for anchors") {
  const auto result = parse("x-policy: &p {plugin: random}\n" + source + "routes: [{policy: *p}]\n");
  CHECK(result.errors == Lines{});
  CHECK(result.config->routes.at(0).policy.plugin == "random");
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

TEST_CASE("the ready configurations are right") {
  for (const std::string name : {"minimal.yaml", "multi-model.yaml"}) {
    CAPTURE(name);
    const auto result = load_config(TIDEGATE_SOURCE_DIR "/examples/config/" + name);
    CHECK(result.errors == Lines{});
    CHECK(result.warnings == Lines{});
    CHECK(result.config);
    CHECK(parse(result.effective).effective == result.effective);
  }
}

TEST_CASE("a broken configuration never breaks the reader") {
  const std::string good = read(TIDEGATE_SOURCE_DIR "/examples/config/multi-model.yaml");
  REQUIRE(good.size() > 1000);
  const Lines pieces{"\n",
                     "  ",
                     "\t",
                     ": ",
                     "- ",
                     "{",
                     "}",
                     "[",
                     "]",
                     "\"",
                     "'",
                     "&a ",
                     "*a",
                     "!t ",
                     "|\n",
                     ">\n",
                     "? ",
                     "${",
                     "}",
                     "%",
                     "@",
                     "#",
                     "---\n",
                     "...\n",
                     "\xff",
                     "\x01",
                     "<<: ",
                     "null",
                     "9999999999999999999",
                     "-1"};
  std::mt19937 random(20240501);
  std::size_t refused = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string text = good;
    for (auto changes = random() % 4 + 1; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, random() % 20 + 1); break;
        case 2: text.insert(at, pieces[random() % pieces.size()]); break;
        default: text.insert(at, good, random() % good.size(), random() % 60);
      }
    }
    const auto result = parse(text);
    CHECK(result.config.has_value() == result.errors.empty());
    refused += result.config ? 0 : 1;
    // What is accepted must survive being printed and read again.
    if (result.config) CHECK_MESSAGE(parse(result.effective).errors == Lines{}, result.effective);
  }
  CHECK(refused > 300);
  CHECK(refused < 1000);
}

}  // namespace tidegate::config
