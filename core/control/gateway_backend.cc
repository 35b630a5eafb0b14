// What the gateway answers itself.
#include <nlohmann/json.hpp>

#include "api/errors.h"
#include "control/gateway.h"
#include "control/worker_request.h"

namespace tidegate::control {
namespace {

using Json = nlohmann::ordered_json;

const char* worker_type(std::uint32_t role) noexcept {
  return role == TG_ROLE_ANY ? "regular" : fleet::role_name(role);
}

// SMG's WorkerInfo: its words for the states, its members, and ours under `tidegate`.
Json worker_json(const fleet::Worker& worker) {
  const auto& spec = worker.spec();
  const tg_worker_live& live = worker.live();
  const std::uint32_t state = worker.state();
  const char* status = "pending";
  if (state == TG_WORKER_READY) status = "ready";
  if (state == TG_WORKER_UNHEALTHY) status = "not_ready";
  if (state == TG_WORKER_DRAINING) status = "draining";
  Json labels = Json::object();
  for (const auto& [key, value] : spec.labels) labels[key] = value;
  Json json = {{"id", worker.uuid()}};
  if (!spec.models.empty()) json["model_id"] = spec.models.front();
  json["url"] = spec.url;
  json["models"] = spec.models;
  json["worker_type"] = worker_type(spec.role);
  json["connection_mode"] = "http";
  if (spec.bootstrap_port && spec.role != TG_ROLE_DECODE) json["bootstrap_port"] = spec.bootstrap_port;
  json["labels"] = labels;
  json["is_healthy"] = state == TG_WORKER_READY;
  json["status"] = status;
  json["load"] = tg_live_get(&live.inflight);
  json["tidegate"] = {{"source", spec.source},
                      {"name", spec.id},
                      {"slot", worker.slot()},
                      {"generation", worker.generation()},
                      {"inflight_tokens", tg_live_get(&live.inflight_tokens)},
                      {"ttft_ewma_us", tg_live_get(&live.ttft_ewma_us)},
                      {"itl_ewma_us", tg_live_get(&live.itl_ewma_us)},
                      {"weight", spec.weight_milli / 1000.0}};
  return json;
}

Reply json_reply(int status, const Json& json) {
  return {status, json.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

Reply not_found(std::string_view id) {
  return json_reply(404,
                    {{"error", "no worker has the id '" + std::string(id) + "'; GET /workers lists them"},
                     {"code", "WORKER_NOT_FOUND"}});
}

}  // namespace

Reply Gateway::readiness() const {
  if (draining()) return json_reply(503, {{"status", "not ready"}, {"reason", "draining"}});
  const auto state = publisher_->readiness();
  Json routes = Json::array();
  for (const auto& route : state->routes) {
    Json one = {{"route", route.route}, {"ready", route.ready}};
    if (!route.ready) one["reason"] = route.reason;
    routes.push_back(one);
  }
  if (sources_->silent())
    return json_reply(
        503, {{"status", "not ready"}, {"reason", "discovery has not delivered its first list yet"}});
  if (!state->any_route())
    return json_reply(503, {{"status", "not ready"},
                            {"reason", "insufficient healthy workers"},
                            {"healthy_workers", state->healthy},
                            {"total_workers", state->total},
                            {"routes", routes}});
  return json_reply(200, {{"status", "ready"},
                          {"healthy_workers", state->healthy},
                          {"total_workers", state->total},
                          {"routes", routes}});
}

Reply Gateway::models() const {
  const auto view = hub_.current();
  Json data = Json::array();
  if (view)
    for (std::string_view name : view->members().model_names())
      data.push_back(
          {{"id", std::string(name)}, {"object", "model"}, {"created", 0}, {"owned_by", "tidegate"}});
  if (data.empty() && (!view || view->members().empty()))
    return {503,
            api::error_body(api::errors::no_available_workers,
                            "no models are available: no worker is registered"),
            "application/json", "Retry-After: 5\r\n"};
  return json_reply(200, {{"object", "list"}, {"data", data}});
}

std::string Gateway::metrics_text() const { return metrics_registry_.expose(); }

bool Gateway::has_token() const {
  std::lock_guard lock(token_mutex_);
  return !token_.empty();
}

// Time depends on the length of what was given only.
bool Gateway::token_matches(std::string_view token) const {
  std::lock_guard lock(token_mutex_);
  if (token_.empty()) return false;
  unsigned different = token.size() != token_.size();
  for (std::size_t i = 0; i < token.size(); ++i)
    different |= static_cast<unsigned char>(token[i]) ^ static_cast<unsigned char>(token_[i % token_.size()]);
  return different == 0;
}

// What is listed as added or removed is routed so: an operator, or a script, acts on the answer at once.
Reply Gateway::list_workers(std::string_view model) {
  publisher_->settle();
  Json list = Json::array();
  std::uint32_t prefill = 0, decode = 0, regular = 0;
  for (const auto& worker : fleet_->workers()) {
    const auto& models = worker->spec().models;
    if (!model.empty() && std::find(models.begin(), models.end(), model) == models.end()) continue;
    prefill += worker->spec().role == TG_ROLE_PREFILL;
    decode += worker->spec().role == TG_ROLE_DECODE;
    regular += worker->spec().role == TG_ROLE_ANY;
    list.push_back(worker_json(*worker));
  }
  const std::size_t total = list.size();
  return json_reply(
      200, {{"workers", std::move(list)},
            {"total", total},
            {"stats", {{"prefill_count", prefill}, {"decode_count", decode}, {"regular_count", regular}}}});
}

Reply Gateway::show_worker(std::string_view id) {
  publisher_->settle();
  const auto worker = fleet_->find(id);
  return worker ? json_reply(200, worker_json(*worker)) : not_found(id);
}

Reply Gateway::remove_worker(std::string_view id) {
  const auto worker = fleet_->find(id);
  if (!worker) return not_found(id);
  fleet_->remove(worker->spec().source, worker->spec().id, "removed by hand");
  publisher_->settle();
  return json_reply(202, {{"status", "accepted"},
                          {"worker_id", worker->uuid()},
                          {"message", "the worker takes no new requests; those under way may end"}});
}

// The name service is asked here, on a thread that may wait for it.
void Gateway::add_worker(std::string body, std::function<void(Reply)> done) {
  auto bad = [&done](const std::string& text) {
    done(json_reply(400, {{"error", text}, {"code", "BAD_REQUEST"}}));
  };
  auto asked = read_worker_request(body);
  if (!asked) return bad(asked.refusal().text);
  auto reached = reach(spec_of("api", std::move(asked->worker)));
  if (!reached.endpoint) return bad(reached.problem);
  control_.post([this, done = std::move(done), ignored = std::move(asked->ignored),
                 reached = std::move(reached)]() mutable {
    if (fleet_) done(register_worker(std::move(reached), ignored));
  });
}

Reply Gateway::register_worker(fleet::ResolvedSpec reached, const std::string& ignored) {
  const std::string url = reached.spec.url;
  if (fleet_->find_url(url))
    return json_reply(
        409, {{"error", "a worker with this url is registered: " + url}, {"code", "WORKER_ALREADY_EXISTS"}});
  if (auto text = fleet_->upsert(std::move(reached), control_.now_ms()); !text.empty())
    return json_reply(500, {{"error", text}, {"code", "INTERNAL_SERVER_ERROR"}});
  publisher_->settle();
  const std::string id = fleet_->find_url(url)->uuid(), location = "/workers/" + id;
  std::string message = "the worker is registered and serves once its health check succeeds";
  if (!ignored.empty()) message += "; without a meaning here and ignored: " + ignored;
  Reply reply = json_reply(202, {{"status", "accepted"},
                                 {"worker_id", id},
                                 {"url", url},
                                 {"location", location},
                                 {"message", message}});
  reply.headers = "Location: " + location + "\r\n";
  return reply;
}

Reply Gateway::plugins() {
  Json libraries = Json::array();
  for (const auto& state : registry_.list()) {
    Json one = {{"path", state.path}, {"state", state.library ? "loaded" : "refused"}};
    if (!state.library) {
      one["reason"] = state.refused;
    } else {
      one["name"] = state.library->name();
      one["version"] = state.library->version();
      one["replaced"] = state.replaced();
      Json components = Json::array();
      for (const auto& component : state.library->components())
        components.push_back({{"interface", component.interface_id},
                              {"name", component.name},
                              {"summary", component.summary}});
      one["components"] = std::move(components);
    }
    libraries.push_back(std::move(one));
  }
  Json sources = Json::array();
  for (const auto& source : sources_->list())
    sources.push_back({{"source", source.name}, {"plugin", source.plugin}, {"workers", source.workers}});
  Json policies = Json::parse(publisher_->describe_policies(), nullptr, false);
  return json_reply(200, {{"libraries", libraries},
                          {"policies", policies.is_discarded() ? Json::array() : policies},
                          {"discovery", sources}});
}

}  // namespace tidegate::control
