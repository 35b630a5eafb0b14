#include "config/config.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

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
         min_body_rate: 6KiB, drain: 6s, timeouts: {header: 1s, body: 2s, idle: 3s, write: 4s}}
control: {listen: "[::1]:2", token: 12345}
metrics: {listen: off}
log: {level: debug, format: text, access: /var/log/a}
plugins: {path: /p, allow_draft: true, slow_call: 5ms, stalled: 1s, call_budget: 3ms}
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
  CHECK(c.server.min_body_rate == 6144);
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
  CHECK(c.plugins.call_budget == 3ms);
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
      ("discovery: [{plugin: k, config: {api_key: hunter2, a: \"${TIDEGATE_TEST_SECRET}\", headers: "
       "{Authorization: "
       "hunter2, X-Api-Key: hunter2}, password: {a: hunter2}, url: \"http://me:hunter2@host/a@b\"}}]"),
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

TEST_CASE("an empty secret is an error: it would open what it is to guard") {
  ::setenv("TIDEGATE_TEST_EMPTY", "", 1);
  for (const char* token : {"\"\"", "\"${TIDEGATE_TEST_EMPTY}\"", "\"${TIDEGATE_TEST_EMPTY:-}\""})
    CHECK(
        parse("control: {token: " + std::string(token) + "}").errors ==
        Lines{
            "tidegate.yaml:1:18: control.token: expected a secret, found an empty one; set it, or leave this "
            "key out"});
}

TEST_CASE("the name of workers added by hand is taken") {
  CHECK(parse("discovery: [{plugin: static, name: api}]").errors ==
        Lines{"tidegate.yaml:1:36: discovery[0].name: expected another name than api, which workers added by "
              "POST /workers have"});
  CHECK(parse("discovery: [{plugin: api}]").errors.size() == 1);
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
