/* A policy with two children, /first and /second: one drained leg of the first, one relayed leg of the
 * second. */
#include <stdlib.h>
#include <tidegate/plugin.h>

typedef struct parent {
  const tg_host_policy* policies;
  tg_child* children[2];
} parent;

static tg_status create(const tg_host* host, tg_str config, tg_policy_traits* traits, void** self,
                        tg_error* error) {
  static const char* const paths[] = {"/first", "/second"};
  parent* p = calloc(1, sizeof *p);
  int i;
  (void)config;
  p->policies = host->get_interface(host, TG_HOST_POLICY);
  for (i = 0; i < 2; ++i) {
    tg_status status = p->policies->create(host, tg_cstr(paths[i]), &p->children[i], NULL, error);
    if (status != TG_OK) {
      free(p);
      return status;
    }
  }
  traits->roles = TG_ROLE_BIT(TG_ROLE_PREFILL) | TG_ROLE_BIT(TG_ROLE_DECODE);
  *self = p;
  return TG_OK;
}
static void destroy(void* self) { free(self); }
static tg_status pick(void* self, const void* table, const tg_pick_args* args, tg_plan* plan) {
  static const uint32_t stages[] = {TG_ROLE_PREFILL, TG_ROLE_DECODE};
  static const uint32_t responses[] = {TG_RESPONSE_DRAIN, TG_RESPONSE_RELAY};
  const parent* p = self;
  int i;
  (void)table;
  for (i = 0; i < 2; ++i) {
    tg_pick_args mine = *args;
    const tg_plan* chosen;
    tg_status status;
    tg_leg* leg;
    mine.stage = stages[i];
    mine.candidates = args->by_role[stages[i]].slots;
    mine.candidate_count = args->by_role[stages[i]].count;
    status = p->policies->pick(p->children[i], &mine, &chosen);
    if (status != TG_OK) return status;
    if (chosen->verdict != TG_PICK_SELECT) {
      plan->verdict = chosen->verdict;
      return TG_OK;
    }
    leg = tg_plan_take(plan, &chosen->legs[0]);
    leg->response = responses[i];
    leg->cookie = 1000u + (uint64_t)i;
  }
  return TG_OK;
}

static const tg_policy policy = {
    .size = sizeof policy, .flags = TG_CONCURRENT, .create = create, .destroy = destroy, .pick = pick};
static const tg_component component = {
    .size = sizeof component, .interface_id = TG_POLICY_INTERFACE, .name = "parent", .functions = &policy};
static const tg_plugin plugin = {.size = sizeof plugin,
                                 .abi_major = 1,
                                 .name = "parent",
                                 .components = &component,
                                 .component_count = 1,
                                 .component_stride = sizeof component};
const tg_plugin* tg_plugin_v1(void) { return &plugin; }
