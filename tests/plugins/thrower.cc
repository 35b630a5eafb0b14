// Throws out of every function that the host may call, one after the other as the configuration says.
#include <tidegate/plugin.h>

#include <stdexcept>
#include <string_view>

namespace {

struct Where {
  bool pick = false, complete = false, build = false;
};

tg_status create(const tg_host*, tg_str config, tg_policy_traits*, void** self, tg_error*) {
  const std::string_view text(config.ptr, config.len);
  if (text.find("create") != text.npos) throw std::runtime_error("out of create");
  *self = new Where{.pick = text.find("pick") != text.npos,
                    .complete = text.find("complete") != text.npos,
                    .build = text.find("build") != text.npos};
  return TG_OK;
}
void destroy(void* self) { delete static_cast<Where*>(self); }
tg_status build(void* self, const tg_snapshot*, void** table, tg_error*) {
  if (static_cast<Where*>(self)->build) throw std::runtime_error("out of build");
  *table = nullptr;
  return TG_OK;
}
tg_status pick(void* self, const void*, const tg_pick_args* args, tg_plan* plan) {
  if (static_cast<Where*>(self)->pick) throw 42;
  tg_plan_select(plan, args->candidates[0]);
  return TG_OK;
}
void complete(void* self, const tg_completion*) {
  if (static_cast<Where*>(self)->complete) throw std::runtime_error("out of complete");
}

const tg_policy policy = [] {
  tg_policy p{};
  p.size = sizeof p;
  p.flags = TG_CONCURRENT;
  p.create = create;
  p.destroy = destroy;
  p.build = build;
  p.pick = pick;
  p.complete = complete;
  return p;
}();
const tg_component component = {
    sizeof(tg_component), 0, TG_POLICY_INTERFACE, "thrower", nullptr, nullptr, &policy};
const tg_plugin plugin = {sizeof(tg_plugin), 1,          0, "thrower",        "1",    nullptr,
                          nullptr,           &component, 1, sizeof component, nullptr};

}  // namespace

const tg_plugin* tg_plugin_v1() { return &plugin; }
