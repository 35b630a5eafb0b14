// slipper: goes wrong as the request's body asks for, to be contained. Plain C functions: the C++ layer would
// not let an exception out. Built twice: `slipper` is concurrent, `slipper_serial` is not.
//   "slip":"error"     pick returns a failure
//   "slip":"throw"     pick throws
//   "slip":"outside"   pick selects a slot that nobody has
//   "slip":"host"      pick sets the header Host
//   "slip":"edit"      pick sets a member of the body, whatever the body is
//   "slip":"complete"  complete throws
//   "slip":"slow"      pick takes 2 ms
//   "slip":"stall"     pick does not return before somebody has opened the FIFO `gate` for writing
#include <tidegate/plugin.h>

#include <fcntl.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace {

struct Slipper {
  std::string gate;
};

tg_status create(const tg_host*, tg_str json, tg_policy_traits*, void** self, tg_error*) {
  const std::string_view text(json.ptr, json.len);
  auto* slipper = new Slipper;
  if (const auto at = text.find("\"/"); at != text.npos)
    slipper->gate = text.substr(at + 1, text.find('"', at + 1) - at - 1);
  *self = slipper;
  return TG_OK;
}
void destroy(void* self) { delete static_cast<Slipper*>(self); }

// A file beside the FIFO says that somebody waits.
void wait_at(const std::string& gate) {
  ::close(::open((gate + ".reached").c_str(), O_CREAT | O_WRONLY, 0600));
  ::close(::open(gate.c_str(), O_RDONLY));
}

tg_status pick(void* self, const void*, const tg_pick_args* args, tg_plan* plan) {
  const std::string_view body(args->body.ptr, args->body.len);
  auto asked = [body](std::string_view slip) {
    return body.find("\"slip\": \"" + std::string(slip) + "\"") != body.npos;
  };
  if (asked("error")) return TG_E_INTERNAL;
  if (asked("throw")) throw std::runtime_error("out of pick");
  if (asked("slow")) ::usleep(2000);
  if (asked("stall")) wait_at(static_cast<Slipper*>(self)->gate);
  tg_leg* leg = tg_plan_select(plan, asked("outside") ? 4000 : args->candidates[0]);
  leg->cookie = asked("complete");
  static const tg_edit host = {TG_EDIT_SET, 0, tg_cstr("Host"), tg_cstr("elsewhere")};
  static const tg_edit member = {TG_EDIT_SET, 0, tg_cstr("stream"), tg_cstr("false")};
  if (asked("host")) leg->headers = &host, leg->header_count = 1;
  if (asked("edit")) leg->edits = &member, leg->edit_count = 1;
  return TG_OK;
}
void complete(void*, const tg_completion* c) {
  if (c->cookie) throw std::runtime_error("out of complete");
}

const tg_policy policy = [] {
  tg_policy p{};
  p.size = sizeof p;
  p.flags = FLAGS;
  p.create = create;
  p.destroy = destroy;
  p.pick = pick;
  p.complete = complete;
  return p;
}();
const tg_component component = {sizeof(tg_component),
                                0,
                                TG_POLICY_INTERFACE,
                                NAME,
                                "a policy that goes wrong when asked",
                                R"({"type":"object","properties":{"gate":{"type":"string"}}})",
                                &policy};
const tg_plugin plugin = {sizeof(tg_plugin), 1,      0, NAME, "1", nullptr, nullptr, &component, 1,
                          sizeof component,  nullptr};

}  // namespace

const tg_plugin* tg_plugin_v1() { return &plugin; }
