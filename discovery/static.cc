// static: workers written in the configuration. Published once; nothing will change until the next reload.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <tidegate/plugin.hpp>

namespace {

constexpr std::pair<std::string_view, uint32_t> roles[] = {{"any", TG_ROLE_ANY},
                                                           {"prefill", TG_ROLE_PREFILL},
                                                           {"decode", TG_ROLE_DECODE},
                                                           {"encode", TG_ROLE_ENCODE}};

class Static {
 public:
  static constexpr auto name = "static";
  static constexpr auto summary = "workers written in the configuration";
  static constexpr uint32_t flags = TG_DISCOVERY_ALLOW_EMPTY;  // a shorter list was written by a person
  static constexpr auto schema = R"({
    "type": "object", "additionalProperties": false, "required": ["workers"],
    "properties": {
      "workers": {"type": "array", "minItems": 1, "items": {
        "type": "object", "additionalProperties": false, "required": ["url"],
        "properties": {
          "url": {"type": "string", "pattern": "^https?://[^/]+/?$", "description": "http://host:port"},
          "id": {"type": "string", "minLength": 1, "description": "unique name; the url unless given"},
          "models": {"type": "array", "items": {"type": "string", "minLength": 1},
                     "description": "models it serves; empty: any", "default": []},
          "role": {"type": "string", "enum": ["any", "prefill", "decode", "encode"], "default": "any"},
          "bootstrap_port": {"type": "integer", "minimum": 0, "maximum": 65535, "default": 0,
                             "description": "rendezvous port of a prefill or encode worker; 0: none"},
          "weight": {"type": "number", "minimum": 0.001, "maximum": 1000, "default": 1},
          "zone": {"type": "string", "default": ""},
          "labels": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
          "health_path": {"type": "string", "default": "", "description": "empty: the gateway's default"},
          "key": {"type": "string", "minLength": 1, "writeOnly": true,
                  "description": "the worker's own key, sent instead of the client's: file:/path or ${ENV}"}
        }}}
    }})";

  Static(const tg::Host&, const tg::Config& config, tg::Sink sink) : sink_(sink) {
    std::set<std::string> ids;
    for (uint32_t i = 0; i < config.count("/workers"); ++i) {
      std::string at = "/workers/" + std::to_string(i);
      workers_.push_back(read(config, at));
      if (workers_.back().url.starts_with("https:"))
        throw tg::Error(TG_E_CONFIG, at + "/url",
                        "expected http://host:port, found https: TLS to workers is not served yet");
      if (!ids.insert(workers_.back().id).second)
        throw tg::Error(TG_E_CONFIG, at,
                        "'" + workers_.back().id + "' stands twice; give one of them another id");
    }
  }

  void run(tg::Stop) {
    if (sink_.publish(workers_)) sink_.synced();
  }

 private:
  static tg::Worker read(const tg::Config& config, const std::string& at) {
    tg::Worker w;
    w.url = config.string(at + "/url");
    w.id = config.string(at + "/id", w.url);
    w.zone = config.string(at + "/zone");
    w.secret_ref = config.string(at + "/key");
    w.health_path = config.string(at + "/health_path");
    w.bootstrap_port = static_cast<uint32_t>(config.integer(at + "/bootstrap_port", 0));
    w.weight_milli = static_cast<uint32_t>(std::lround(config.number(at + "/weight", 1) * 1000));
    std::string role = config.string(at + "/role", "any");
    for (auto& [text, value] : roles)
      if (text == role) w.role = value;
    for (uint32_t m = 0; m < config.count(at + "/models"); ++m)
      w.models.push_back(config.string(at + "/models/" + std::to_string(m)));
    auto labels = nlohmann::json::parse(config.json(at + "/labels").value_or("{}"));
    for (auto& [key, value] : labels.items()) w.labels.emplace_back(key, value.get<std::string>());
    return w;
  }

  tg::Sink sink_;
  std::vector<tg::Worker> workers_;
};

}  // namespace

TG_PLUGIN("static", "0.1.0", tg::discovery<Static>());
