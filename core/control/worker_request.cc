#include "control/worker_request.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace tidegate::control {
namespace {

using Json = nlohmann::ordered_json;

// Of SMG's WorkerSpec, without a meaning here: its tools send them.
constexpr std::array<std::string_view, 20> passed_over{"priority",
                                                       "cost",
                                                       "runtime_type",
                                                       "runtime",
                                                       "provider",
                                                       "health",
                                                       "dp_aware",
                                                       "dp_base_url",
                                                       "dp_rank",
                                                       "dp_size",
                                                       "kv_connector",
                                                       "kv_role",
                                                       "kv_engine_id",
                                                       "kv_block_size",
                                                       "http_pool",
                                                       "resilience",
                                                       "overload",
                                                       "multimodal",
                                                       "load_monitor_interval_secs",
                                                       "max_connection_attempts"};

// The texts behind a tg_worker_desc.
struct Draft {
  tg_worker_desc desc{};
  std::string url, zone, key, health_path;
  std::vector<std::string> models;
  std::vector<std::pair<std::string, std::string>> labels;
};

struct Wrong {
  std::string text;
};

[[noreturn]] void wrong(const std::string& member, const char* expected, const Json& found) {
  throw Wrong{member + ": expected " + expected + ", found " +
              found.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 100)};
}

const std::string& text_of(const std::string& member, const Json& value) {
  if (!value.is_string()) wrong(member, "a string", value);
  return value.get_ref<const std::string&>();
}

std::uint32_t number_of(const std::string& member, const Json& value, std::uint32_t most) {
  if (!value.is_number_integer() || value < 0 || value > most)
    wrong(member, ("a whole number from 0 to " + std::to_string(most)).c_str(), value);
  return value.get<std::uint32_t>();
}

std::uint32_t role_of(const Json& value) {
  constexpr std::array<std::pair<std::string_view, std::uint32_t>, 4> roles{{{"regular", TG_ROLE_ANY},
                                                                             {"prefill", TG_ROLE_PREFILL},
                                                                             {"decode", TG_ROLE_DECODE},
                                                                             {"encode", TG_ROLE_ENCODE}}};
  for (const auto& [word, role] : roles)
    if (value == word) return role;
  wrong("worker_type", "regular, prefill, decode or encode", value);
}

std::string key_of(const Json& value) {
  const std::string& key = value.is_string() ? value.get_ref<const std::string&>() : std::string();
  // References are for the configuration: here they would hand this machine's files to whoever may write.
  if (key.empty() || key.starts_with("file:") || key.starts_with("${"))
    throw Wrong{"api_key: expected the key itself, found a reference, an empty text or no text"};
  return key;
}

std::uint32_t weight_of(const Json& value) {
  if (!value.is_number() || value < 0.001 || value > 1000)
    wrong("weight", "a number from 0.001 to 1000", value);
  return static_cast<std::uint32_t>(std::lround(value.get<double>() * 1000));
}

void read_labels(const Json& value, Draft& out) {
  if (!value.is_object()) wrong("labels", "an object of strings", value);
  for (const auto& [key, label] : value.items())
    out.labels.emplace_back(key, text_of("labels." + key, label));
}

void read_models(const Json& value, Draft& out) {
  if (!value.is_array()) wrong("models", "an array of names", value);
  for (const auto& model : value) {
    // SMG's model cards name themselves by their id.
    const bool card = model.is_object() && model.contains("id");
    out.models.push_back(text_of("models", card ? model["id"] : model));
  }
}

// False: this member means nothing here. A null stands for a member that is not there.
bool read_member(const std::string& key, const Json& value, Draft& out) {
  if (std::find(passed_over.begin(), passed_over.end(), key) != passed_over.end() || value.is_null())
    return true;
  if (key == "url") return out.url = text_of(key, value), true;
  if (key == "models") return read_models(value, out), true;
  if (key == "model_id") {
    const std::string& model = text_of(key, value);
    if (std::find(out.models.begin(), out.models.end(), model) == out.models.end())
      out.models.push_back(model);
    return true;
  }
  if (key == "connection_mode")
    return value == "http" ? true : (wrong(key, "http, which is all that is served", value), true);
  if (key == "worker_type") return out.desc.role = role_of(value), true;
  if (key == "bootstrap_port") return out.desc.bootstrap_port = number_of(key, value, 65535), true;
  if (key == "labels") return read_labels(value, out), true;
  if (key == "api_key") return out.key = key_of(value), true;
  if (key == "zone") return out.zone = text_of(key, value), true;
  if (key == "health_path") return out.health_path = text_of(key, value), true;
  if (key == "weight") return out.desc.weight_milli = weight_of(value), true;
  return false;
}

tg_str str(const std::string& s) noexcept { return {s.data(), s.size()}; }

plugin::Outcome<plugin::WorkerDesc> checked(Draft& draft) {
  std::vector<tg_str> models;
  std::vector<tg_kv> labels;
  for (const auto& model : draft.models) models.push_back(str(model));
  for (const auto& [key, value] : draft.labels) labels.push_back({str(key), str(value)});
  tg_worker_desc& desc = draft.desc;
  desc.size = sizeof desc;
  desc.id = desc.url = str(draft.url);
  desc.zone = str(draft.zone);
  desc.secret_ref = str(draft.key);
  desc.health_path = str(draft.health_path);
  desc.models = models.data();
  desc.model_count = static_cast<std::uint32_t>(models.size());
  desc.labels = labels.data();
  desc.label_count = static_cast<std::uint32_t>(labels.size());
  auto worker = plugin::read_worker(desc);
  if (worker) worker->id = worker->url;  // as it is written after the check
  return worker;
}

}  // namespace

plugin::Outcome<WorkerRequest> read_worker_request(std::string_view body) {
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("url"))
    return plugin::Refusal{
        R"(expected a JSON object such as {"url": "http://10.0.0.1:8000", "models": ["llama-3-8b"]})", ""};
  try {
    Draft draft;
    std::string ignored;
    for (const auto& [key, value] : json.items())
      if (!read_member(key, value, draft)) ignored += (ignored.empty() ? "" : ", ") + key.substr(0, 64);
    auto worker = checked(draft);
    if (!worker) return worker.refusal();
    return WorkerRequest{*std::move(worker), ignored};
  } catch (const Wrong& e) {
    return plugin::Refusal{e.text, ""};
  }
}

}  // namespace tidegate::control
