#include "config/json_schema.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "config/document.h"

namespace tidegate::config {
namespace {

constexpr const char* schema = R"({
  "type": "object", "additionalProperties": false, "required": ["workers"],
  "properties": {
    "workers": {"type": "array", "minItems": 1, "items": {
      "type": "object", "required": ["url"],
      "properties": {"url": {"type": "string", "pattern": "^https?://"},
                     "models": {"type": "array", "items": {"type": "string"}},
                     "weight": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1},
                     "api_key": {"type": "string", "minLength": 4}}}},
    "threshold": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.5},
    "mode": {"enum": ["fast", "thorough"], "default": "fast"},
    "refresh": {"type": "string", "format": "duration"},
    "limit": {"type": "string", "format": "size"},
    "bind": {"type": "string", "format": "address"},
    "pin": {"type": "string", "maxLength": 3, "writeOnly": true},
    "port": {"anyOf": [{"type": "integer"}, {"const": "auto"}]},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "tuning": {"type": "object", "properties": {"depth": {"type": "integer", "default": 8}}}
  }})";

SchemaResult check(const std::string& yaml, const char* with = schema) {
  const Document document = parse_document(yaml, "t.yaml");
  REQUIRE(document.diagnostics.errors() == std::vector<std::string>{});
  return validate_against_json_schema(document.root["config"], with, "discovery[0].config");
}

}  // namespace

TEST_CASE("a section that fits is typed by its schema and gets its defaults") {
  const auto result = check(
      "config:\n  workers:\n    - {url: \"http://a\", models: [8000, true, x]}\n  threshold: 0.3\n  port: "
      "auto\n"
      "  labels: {zone: 1}\n");
  CHECK(result.diagnostics.errors() == std::vector<std::string>{});
  CHECK(
      result.json ==
      R"({"workers":[{"url":"http://a","models":["8000","true","x"],"weight":1}],"threshold":0.3,"port":"auto",)"
      R"("labels":{"zone":"1"},"mode":"fast","tuning":{"depth":8}})");
}

TEST_CASE("every way not to fit is an error with place, path and pointer") {
  struct Case {
    std::string yaml, error;
  };
  const std::string workers = "config:\n  workers: [{url: \"http://a\"}]\n  ";
  const std::vector<Case> cases{
      {"config: {}", "1:9: discovery[0].config: the key 'workers' is missing (at /)"},
      {"config:", "1:1: discovery[0].config: the key 'workers' is missing (at /)"},
      {"config: [1]", "1:9: discovery[0].config: expected object, found a list (at /)"},
      {"config: {workers: []}",
       "1:19: discovery[0].config.workers: expected at least 1 items, found a list (at /workers)"},
      {"config: {workers: x}",
       "1:19: discovery[0].config.workers: expected array, found the string 'x' (at /workers)"},
      {"config: {workers: [{ulr: x, url: \"http://a\"}], workrs: 1}",
       "1:48: discovery[0].config.workrs: unknown key 'workrs'; did you mean 'workers'? (at /workrs)"},
      {"config: {workers: [{url: a}]}",
       "1:26: discovery[0].config.workers[0].url: expected a text that matches ^https?://, found the string "
       "'a' (at "
       "/workers/0/url)"},
      {"config: {workers: [{url: [a]}]}",
       "1:26: discovery[0].config.workers[0].url: expected string, found a list (at /workers/0/url)"},
      {"config: {workers: [{url: \"http://a\", weight: 0}]}",
       "1:46: discovery[0].config.workers[0].weight: expected at least 1, found the number 0 (at "
       "/workers/0/weight)"},
      {"config: {workers: [{url: \"http://a\", weight: 101}]}",
       "1:46: discovery[0].config.workers[0].weight: expected at most 100, found the number 101 (at "
       "/workers/0/weight)"},
      {"config: {workers: [{url: \"http://a\", weight: \"3\"}]}",
       "1:46: discovery[0].config.workers[0].weight: expected integer, found the string '3'; remove the "
       "quotes (at "
       "/workers/0/weight)"},
      {"config: {workers: [{url: \"http://a\", weight: 1.5}]}",
       "1:46: discovery[0].config.workers[0].weight: expected integer, found the number 1.5 (at "
       "/workers/0/weight)"},
      {workers + "threshold: 0",
       "3:14: discovery[0].config.threshold: expected more than 0, found the number 0 (at /threshold)"},
      {workers + "threshold: 1",
       "3:14: discovery[0].config.threshold: expected less than 1, found the number 1 (at /threshold)"},
      {workers + "mode: fats",
       "3:9: discovery[0].config.mode: expected fast or thorough, found the string 'fats'; did you mean "
       "'fast'? (at /mode)"},
      {workers + "refresh: 5",
       "3:12: discovery[0].config.refresh: expected a duration such as 250ms, 5s or 2m, found the number 5 "
       "(at /refresh)"},
      {workers + "limit: much",
       "3:10: discovery[0].config.limit: expected a size such as 4096, 10k or 64MiB, found the string 'much' "
       "(at /limit)"},
      {workers + "bind: here",
       "3:9: discovery[0].config.bind: expected an address such as 0.0.0.0:30000 or [::]:30000, found the "
       "string 'here' (at /bind)"},
      {workers + "port: x",
       "3:9: discovery[0].config.port: expected integer, found the string 'x' (at /port)"},
      {workers + "labels: {a/b: [1]}",
       "3:17: discovery[0].config.labels.a/b: expected string, found a list (at /labels/a~1b)"},
  };
  for (const auto& [yaml, error] : cases) {
    CAPTURE(yaml);
    const auto result = check(yaml);
    CHECK(result.json.empty());
    CHECK(result.diagnostics.errors() == std::vector<std::string>{"t.yaml:" + error});
  }
}

TEST_CASE("a secret's value never stands in an error") {
  const auto result = check("config: {workers: [{url: \"http://a\", api_key: abc}], pin: hunter2}");
  CHECK(result.diagnostics.errors() ==
        std::vector<std::string>{"t.yaml:1:47: discovery[0].config.workers[0].api_key: expected at least 4 "
                                 "characters, found a hidden value "
                                 "(at /workers/0/api_key)",
                                 "t.yaml:1:59: discovery[0].config.pin: expected at most 3 characters, found "
                                 "a hidden value (at /pin)"});
}

TEST_CASE("all errors are collected") {
  CHECK(check("config: {mode: x, threshold: 7, port: []}").diagnostics.errors().size() == 4);
}

TEST_CASE("an absent section counts as an empty one") {
  const auto result =
      validate_against_json_schema(Node(), R"({"type":"object","properties":{"a":{"default":1}}})", "p");
  CHECK(result.json == R"({"a":1})");
}

TEST_CASE("a schema that cannot be used is the plugin's error") {
  const auto error_of = [](const char* bad) {
    return check("config: {a: x}", bad).diagnostics.errors().at(0);
  };
  const std::string begin = "t.yaml:1:9: discovery[0].config: the plugin's own schema cannot be used: ";
  CHECK(error_of("{").starts_with(begin + "[json.exception.parse_error"));
  CHECK(error_of(R"({"oneOf": []})") ==
        begin + "the keyword 'oneOf' is not supported; see the list in the plugin documentation");
  CHECK(error_of(R"({"type": "strnig"})") == begin + "'type' is \"strnig\", which JSON Schema does not know");
  CHECK(error_of(R"({"properties": {"a": {"pattern": "("}}})") == begin + "the pattern '(' cannot be read");
  CHECK(error_of(R"({"properties": {"a": {"maximum": "x"}}, "required": 3})").starts_with(begin));
  CHECK(error_of("[1]") == begin + "expected an object for 'discovery[0].config', found [1]");
}

}  // namespace tidegate::config
