// Three builds of one policy: each says which it is and lays its state out in its own way.
#include <tidegate/plugin.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

#if VERSION == 1
struct State {
  int picks = 0;
  std::string text = "v1";
};
#elif VERSION == 2
struct State {
  std::string text = "v2";
  double moved[64] = {};
  long picks = 0;
};
#else
struct State {
  std::string text = "v3";
  int picks = 0;
  char more[512] = {};
};
#endif

// A static in an inline function: unique symbols would make all three builds share it.
inline std::string& shared_text() {
  static std::string text = "build " + std::to_string(VERSION);
  return text;
}

tg_status create(const tg_host*, tg_str, tg_policy_traits*, void** self, tg_error*) {
  *self = new State;
  return TG_OK;
}
void destroy(void* self) { delete static_cast<State*>(self); }
tg_status pick(void* self, const void*, const tg_pick_args* args, tg_plan* plan) {
  auto* state = static_cast<State*>(self);
  state->picks++;
  tg_plan_select(plan, args->candidates[0])->cookie = VERSION;
  return TG_OK;
}
tg_status describe(void* self, tg_out* out) {
  const auto* state = static_cast<State*>(self);
  const std::string json = "{\"build\":\"" + state->text + "\",\"static\":\"" + shared_text() + "\"}";
  out->write(out, tg_str{json.data(), json.size()});
  return TG_OK;
}
// Bytes of a format of its own that all builds read: "picks=N".
tg_status export_state(void* self, tg_out* out) {
  const std::string bytes = "picks=" + std::to_string(static_cast<State*>(self)->picks);
  out->write(out, tg_str{bytes.data(), bytes.size()});
  return TG_OK;
}
tg_status import_state(void* self, tg_str bytes) {
  if (bytes.len < 6 || std::strncmp(bytes.ptr, "picks=", 6) != 0) return TG_E_INVALID;
  static_cast<State*>(self)->picks = std::atoi(std::string(bytes.ptr + 6, bytes.len - 6).c_str());
  return TG_OK;
}

const tg_policy policy = [] {
  tg_policy p{};
  p.size = sizeof p;
  p.state_id = VERSION;
  p.create = create;
  p.destroy = destroy;
  p.pick = pick;
  p.describe = describe;
  p.export_state = export_state;
  p.import_state = import_state;
  return p;
}();
const tg_component component = [] {
  tg_component c{};
  c.size = sizeof c;
  c.interface_id = TG_POLICY_INTERFACE;
  c.name = "swap";
  c.functions = &policy;
  return c;
}();
const tg_plugin plugin = [] {
  tg_plugin p{};
  p.size = sizeof p;
  p.abi_major = 1;
  p.name = "swap";
  p.version = VERSION == 1 ? "1.0" : VERSION == 2 ? "2.0" : "3.0";
  p.components = &component;
  p.component_count = 1;
  p.component_stride = sizeof component;
  return p;
}();

}  // namespace

const tg_plugin* tg_plugin_v1() { return &plugin; }
