// A discovery source that goes wrong in a way that its configuration names: {"throw":1} out of each run(),
// {"bad_list":1} publishes a good list, then one with a bad record among good ones, then one with an id
// twice. Built several times: /plugins and the workers tell BUILD.
#include <tidegate/plugin.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace {

struct Source {
  tg_discovery_sink* sink;
  std::string config;
  bool says(std::string_view word) const { return config.find(word) != config.npos; }
};

tg_status create(const tg_host*, tg_str json, tg_discovery_sink* sink, void** self, tg_error*) {
  *self = new Source{sink, std::string(json.ptr, json.len)};
  return TG_OK;
}
void destroy(void* self) { delete static_cast<Source*>(self); }

tg_worker_desc worker(const char* id, const char* url) {
  tg_worker_desc w{};
  w.size = sizeof w;
  w.id = tg_cstr(id);
  w.url = tg_cstr(url);
  return w;
}
tg_status run(void* self, const tg_stop* stop, tg_error* error) {
  const Source& source = *static_cast<Source*>(self);
  if (source.says("throw")) throw std::runtime_error("out of run");
  tg_worker_desc list[] = {worker("build-" BUILD, "http://127.0.0.1:1"), worker("b", "http://127.0.0.1:2")};
  source.sink->publish(source.sink, list, 2, sizeof *list, nullptr);
  source.sink->synced(source.sink);
  if (source.says("bad_list")) {
    list[1].url = tg_cstr("gopher://127.0.0.1");
    if (source.sink->publish(source.sink, list, 2, sizeof *list, error) != TG_E_INVALID) return TG_E_INTERNAL;
    list[1] = list[0];
    if (source.sink->publish(source.sink, list, 2, sizeof *list, error) != TG_E_INVALID) return TG_E_INTERNAL;
    return TG_OK;
  }
  while (!stop->wait_ms(stop, 10'000)) {
  }
  return TG_OK;
}
tg_status describe(void*, tg_out* out) {
  out->write(out, tg_cstr("{\"build\":\"" BUILD "\"}"));
  return TG_OK;
}

const tg_discovery discovery = [] {
  tg_discovery d{};
  d.size = sizeof d;
  d.create = create;
  d.destroy = destroy;
  d.run = run;
  d.describe = describe;
  return d;
}();
const tg_component component = {
    sizeof(tg_component),   0,         TG_DISCOVERY_INTERFACE, "odd_source", nullptr,
    R"({"type":"object"})", &discovery};
const tg_plugin plugin = {sizeof(tg_plugin), 1,          0, "odd_source",     BUILD,  nullptr,
                          nullptr,           &component, 1, sizeof component, nullptr};

}  // namespace

const tg_plugin* tg_plugin_v1() { return &plugin; }
