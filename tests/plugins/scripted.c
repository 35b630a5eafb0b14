#include "scripted.h"

#include <stdlib.h>

static void destroy(void* self) { free(self); }

static tg_status create(const tg_host* host, tg_str config, tg_policy_traits* traits, void** self,
                        tg_error* error) {
  static const char* const paths[] = {"/a", "/b"};
  const tg_host_config* values = host->get_interface(host, TG_HOST_CONFIG);
  scripted* s = calloc(1, sizeof *s);
  int i;
  (void)config, (void)traits;
  s->name = host->instance;
  s->policies = host->get_interface(host, TG_HOST_POLICY);
  s->hooks = (const scripted_hooks*)(intptr_t)values->integer(host, tg_cstr("/hooks"), 0);
  for (i = 0; i < 2; ++i) {
    tg_status status;
    if (values->count(host, tg_cstr(paths[i])) == 0) continue;
    status = s->policies->create(host, tg_cstr(paths[i]), &s->children[i], NULL, error);
    if (status != TG_OK) {
      free(s);
      return status;
    }
  }
  if (values->count(host, tg_cstr("/s"))) {
    tg_status status = s->policies->create_scorer(host, tg_cstr("/s"), &s->scorer, error);
    if (status != TG_OK) {
      free(s);
      return status;
    }
  }
  *self = s;
  return TG_OK;
}
static tg_status create_scorer(const tg_host* host, tg_str config, void** self, tg_error* error) {
  return create(host, config, NULL, self, error);
}
static tg_status score(void* self, const void* table, const tg_pick_args* args, float* out) {
  const scripted* s = self;
  return s->hooks->score(s->hooks->context, s, table, args, out);
}
static tg_status build(void* self, const tg_snapshot* snapshot, void** table, tg_error* error) {
  const scripted* s = self;
  (void)error;
  return s->hooks->build ? s->hooks->build(s->hooks->context, s, snapshot, table) : TG_OK;
}
static void release(void* self, void* table) { (void)self, (void)table; }
static tg_status pick(void* self, const void* table, const tg_pick_args* args, tg_plan* plan) {
  const scripted* s = self;
  (void)table;
  return s->hooks->pick(s->hooks->context, s, args, plan);
}
static void complete(void* self, const tg_completion* completion) {
  const scripted* s = self;
  s->hooks->complete(s->hooks->context, s, completion);
}

static const tg_policy policy = {.size = sizeof policy,
                                 .flags = TG_CONCURRENT,
                                 .create = create,
                                 .destroy = destroy,
                                 .pick = pick,
                                 .complete = complete};
static const tg_scorer scorer = {.size = sizeof scorer,
                                 .flags = TG_CONCURRENT | TG_NEED_KEY,
                                 .create = create_scorer,
                                 .destroy = destroy,
                                 .build = build,
                                 .release = release,
                                 .score = score,
                                 .complete = complete};
static const tg_component components[] = {{.size = sizeof(tg_component),
                                           .interface_id = TG_POLICY_INTERFACE,
                                           .name = "scripted",
                                           .functions = &policy},
                                          {.size = sizeof(tg_component),
                                           .interface_id = TG_SCORER_INTERFACE,
                                           .name = "scripted",
                                           .functions = &scorer}};
static const tg_plugin plugin = {.size = sizeof plugin,
                                 .abi_major = 1,
                                 .name = "scripted",
                                 .components = components,
                                 .component_count = 2,
                                 .component_stride = sizeof components[0]};
const tg_plugin* tg_plugin_v1(void) { return &plugin; }
