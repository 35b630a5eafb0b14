#include "engine/replies.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include <nlohmann/json.hpp>

#include "engine/service.h"
#include "engine/text.h"

namespace tidegate::engine {

namespace {

using Json = nlohmann::ordered_json;
constexpr std::string_view text_plain = "text/plain; charset=utf-8";

enum class For : std::uint8_t { both, sglang, vllm };

struct Call {
  EngineService& engine;
  const http::RequestHead& head;
  std::string_view body;
};

Reply models(const Call& call) {
  const EngineOptions& options = call.engine.options();
  Json data = Json::array();
  for (const std::string& model : options.models) {
    data.push_back({{"id", model},
                    {"object", "model"},
                    {"created", 0},
                    {"owned_by", options.flavor == Flavor::sglang ? "sglang" : "vllm"},
                    {"root", model},
                    {"parent", nullptr},
                    {"max_model_len", options.max_model_len}});
  }
  return {200, Json{{"object", "list"}, {"data", data}}.dump()};
}

Reply health(const Call&) { return {200, "", text_plain}; }

Reply version(const Call&) { return {200, R"({"version":"0.11.0+tidegate.sim"})"}; }

Reply model_info(const Call& call) {
  const std::string& model = call.engine.options().models.front();
  return {200, Json{{"model_path", model},
                    {"tokenizer_path", model},
                    {"is_generation", true},
                    {"preferred_sampling_params", nullptr},
                    {"weight_version", "default"}}
                   .dump()};
}

Json load(const EngineService& engine) {
  const EngineModel& model = engine.model();
  return {{"dp_rank", 0},
          {"num_reqs", model.running() + model.waiting()},
          {"num_running_reqs", model.running()},
          {"num_waiting_reqs", model.waiting()},
          {"num_tokens", model.context_tokens() + model.waiting_tokens()},
          {"num_used_tokens", model.context_tokens()},
          {"max_total_num_tokens", model.capacity_tokens()},
          {"token_usage", model.token_usage()},
          {"max_running_requests", model.config().max_batch}};
}

Reply server_info(const Call& call) {
  const EngineOptions& options = call.engine.options();
  return {200, Json{{"model_path", options.models.front()},
                    {"served_model_name", options.models.front()},
                    {"version", "0.5.6+tidegate.sim"},
                    {"tp_size", 1},
                    {"dp_size", 1},
                    {"page_size", options.model.block_tokens},
                    {"context_length", options.max_model_len},
                    {"max_running_requests", options.model.max_batch},
                    {"max_total_num_tokens", options.model.cache_tokens},
                    {"disaggregation_mode", "null"},
                    {"internal_states", Json::array({load(call.engine)})}}
                   .dump()};
}

Reply get_load(const Call& call) { return {200, Json::array({load(call.engine)}).dump()}; }

Reply v1_loads(const Call& call) {
  const Json one = load(call.engine);
  return {200, Json{{"dp_rank_count", 1}, {"loads", Json::array({one})}, {"aggregate", one}}.dump()};
}

Reply metrics(const Call& call) {
  EngineService& engine = call.engine;
  return {200, metrics_text(engine.options(), engine.model(), engine.counters()),
          "text/plain; version=0.0.4; charset=utf-8"};
}

Reply abort_request(const Call& call) {
  const Json body = Json::parse(call.body, nullptr, false);
  if (!body.is_object()) return {400, R"({"error":{"message":"expected {\"rid\": ...}"}})"};
  call.engine.abort(body.value("rid", ""), body.value("abort_all", false));
  return {200, "", text_plain};
}

Reply flush_cache(const Call& call) {
  if (!call.engine.flush_cache()) return {400, "Flush cache failed: requests are running.\n", text_plain};
  return {200, "Cache flushed.\n", text_plain};
}

Reply debug_requests(const Call& call) {
  if (call.head.method != "DELETE") return {200, call.engine.log().to_json()};
  call.engine.log().clear();
  return {200, "[]"};
}

Reply debug_faults(const Call& call) {
  Faults faults = call.engine.faults();
  if (call.head.method == "DELETE") faults = {};
  if (call.head.method == "POST") {
    const std::string problem = faults.set_json(call.body);
    if (!problem.empty())
      return {400, error_body(call.engine.options().flavor, 400, "BadRequestError", problem)};
  }
  if (call.head.method != "GET") call.engine.set_faults(faults);
  return {200, call.engine.faults().to_json()};
}

Reply debug_state(const Call& call) {
  const EngineCounters& counters = call.engine.counters();
  const EngineModel& model = call.engine.model();
  return {200, Json{{"id", call.engine.options().id},
                    {"requests", counters.requests},
                    {"generations", counters.generations},
                    {"completed", counters.completed},
                    {"aborted", counters.aborted},
                    {"faults", counters.faults},
                    {"open", counters.open},
                    {"open_streams", counters.open_streams},
                    {"running", model.running()},
                    {"waiting", model.waiting()},
                    {"steps", model.counters().steps}}
                   .dump()};
}

struct Endpoint {
  std::string_view path;
  std::string_view methods;
  For flavor;
  Reply (*make)(const Call&);
};

constexpr Endpoint endpoints[] = {
    {"/v1/models", "GET", For::both, models},
    {"/health", "GET", For::both, health},
    {"/metrics", "GET", For::both, metrics},
    {"/ping", "GET POST", For::both, health},
    {"/health_generate", "GET", For::sglang, health},
    {"/server_info", "GET", For::sglang, server_info},
    {"/get_server_info", "GET", For::sglang, server_info},
    {"/model_info", "GET", For::sglang, model_info},
    {"/get_model_info", "GET", For::sglang, model_info},
    {"/v1/loads", "GET", For::sglang, v1_loads},
    {"/get_load", "GET", For::sglang, get_load},
    {"/abort_request", "POST", For::sglang, abort_request},
    {"/flush_cache", "GET POST", For::sglang, flush_cache},
    {"/version", "GET", For::vllm, version},
    {"/reset_prefix_cache", "POST", For::vllm, flush_cache},
    {"/debug/requests", "GET DELETE", For::both, debug_requests},
    {"/debug/faults", "GET POST DELETE", For::both, debug_faults},
    {"/debug/state", "GET", For::both, debug_state},
    {"/v1/chat/completions", "POST", For::both, nullptr},
    {"/v1/completions", "POST", For::both, nullptr},
    {"/generate", "POST", For::sglang, nullptr},
};

bool served(const Endpoint& endpoint, Flavor flavor) {
  return endpoint.flavor == For::both || (endpoint.flavor == For::sglang) == (flavor == Flavor::sglang);
}

}  // namespace

std::string error_body(Flavor flavor, int status, std::string_view type, std::string_view message) {
  const std::string members = "\"message\":" + json_string(message) + ",\"type\":" + json_string(type) +
                              ",\"param\":null,\"code\":" + std::to_string(status);
  return flavor == Flavor::sglang ? "{\"object\":\"error\"," + members + "}"
                                  : "{\"error\":{" + members + "}}";
}

Reply make_reply(EngineService& engine, const http::RequestHead& head, std::string_view body) {
  const std::string_view method = head.method == "HEAD" ? "GET" : head.method;
  for (const Endpoint& endpoint : endpoints) {
    if (endpoint.path != head.path || !served(endpoint, engine.options().flavor)) continue;
    if (endpoint.make == nullptr || endpoint.methods.find(method) == std::string_view::npos) {
      return {405, R"({"detail":"Method Not Allowed"})"};
    }
    return endpoint.make({engine, head, body});
  }
  return {404, R"({"detail":"Not Found"})"};
}

}  // namespace tidegate::engine
