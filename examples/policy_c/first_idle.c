/* first_idle: the first worker without a request in flight, else the one with the fewest. A policy in plain C. */
#include <stdlib.h>
#include <string.h>
#include <tidegate/plugin.h>

/* What an instance keeps: the host's log, which every host has. */
typedef struct first_idle {
  const tg_host *host;
  const tg_host_log *log;
} first_idle;

static tg_status fail(tg_error *error, tg_status code, const char *text) {
  if (error) {
    error->code = code;
    error->where[0] = 0;
    strncpy(error->text, text, sizeof error->text - 1);
    error->text[sizeof error->text - 1] = 0;
  }
  return code;
}

static tg_status create(const tg_host *host, tg_str config, tg_policy_traits *traits, void **self, tg_error *error) {
  first_idle *policy = calloc(1, sizeof *policy);
  (void)config, (void)traits;
  if (!policy) return fail(error, TG_E_LIMIT, "out of memory");
  policy->host = host;
  policy->log = host->get_interface(host, TG_HOST_LOG);
  if (policy->log && policy->log->enabled(host, TG_LOG_DEBUG))
    policy->log->write(host, TG_LOG_DEBUG, tg_cstr("first_idle is ready"), NULL, 0);
  *self = policy;
  return TG_OK;
}

static void destroy(void *self) { free(self); }

static tg_status pick(void *self, const void *table, const tg_pick_args *args, tg_plan *plan) {
  uint32_t i, best = TG_NONE, fewest = UINT32_MAX;
  (void)self, (void)table;
  for (i = 0; i < args->candidate_count && fewest > 0; ++i) {
    uint32_t inflight = tg_live_get(&tg_live_at(args->snapshot, args->candidates[i])->inflight);
    if (best == TG_NONE || inflight < fewest) {
      best = args->candidates[i];
      fewest = inflight;
    }
  }
  if (best == TG_NONE) {
    plan->verdict = TG_PICK_WAIT;
  } else {
    tg_plan_select(plan, best);
  }
  return TG_OK;
}

static const tg_policy functions = {
    .size = sizeof(tg_policy), .flags = TG_CONCURRENT, .create = create, .destroy = destroy, .pick = pick};

static const tg_component components[] = {{.size = sizeof(tg_component),
                                           .interface_id = TG_POLICY_INTERFACE,
                                           .name = "first_idle",
                                           .summary = "the first worker without a request in flight",
                                           .functions = &functions}};

static const tg_plugin plugin = {.size = sizeof(tg_plugin),
                                 .abi_major = TG_ABI_MAJOR,
                                 .abi_minor_min = 0,
                                 .name = "example-first-idle",
                                 .version = "0.1.0",
                                 .vendor = "",
                                 .license = "Apache-2.0",
                                 .components = components,
                                 .component_count = 1,
                                 .component_stride = sizeof(tg_component)};

const tg_plugin *tg_plugin_v1(void) { return &plugin; }
