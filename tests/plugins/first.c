/* A well-behaved policy: the first candidate. */
#include <tidegate/plugin.h>

static tg_status create(const tg_host* host, tg_str config, tg_policy_traits* traits, void** self,
                        tg_error* error) {
  (void)host, (void)config, (void)traits, (void)error;
  *self = NULL;
  return TG_OK;
}
static void destroy(void* self) { (void)self; }
static tg_status pick(void* self, const void* table, const tg_pick_args* args, tg_plan* plan) {
  (void)self, (void)table;
  tg_plan_select(plan, args->candidates[0]);
  return TG_OK;
}

static const tg_policy policy = {
    .size = sizeof policy, .flags = TG_CONCURRENT, .create = create, .destroy = destroy, .pick = pick};

static const tg_component components[] = {
    {.size = sizeof(tg_component),
     .interface_id = TG_POLICY_INTERFACE,
     .name = COMPONENT,
     .functions = &policy},
#ifdef ANOTHER
    {.size = sizeof(tg_component),
     .interface_id = TG_POLICY_INTERFACE,
     .name = ANOTHER,
     .functions = &policy},
#endif
};

#ifdef INIT_FAILS
#  include <string.h>
static tg_status first_init(const tg_host* host, tg_error* error) {
  (void)host;
  strcpy(error->text, "no licence file");
  return TG_E_UNAVAILABLE;
}
#else
#  define first_init NULL
#endif

static const tg_plugin plugin = {.size = sizeof plugin,
                                 .abi_major = 1,
                                 .name = COMPONENT,
                                 .version = "1.2.3",
                                 .vendor = "tests",
                                 .license = "Apache-2.0",
                                 .components = components,
                                 .component_count = sizeof components / sizeof *components,
                                 .component_stride = sizeof *components,
                                 .init = first_init};
const tg_plugin* tg_plugin_v1(void) { return &plugin; }
