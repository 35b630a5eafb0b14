/* Libraries that are no good, each in one respect. */
#include <tidegate/plugin.h>

static tg_status create(const tg_host* host, tg_str config, tg_policy_traits* traits, void** self,
                        tg_error* error) {
  (void)host, (void)config, (void)traits, (void)self, (void)error;
  return TG_OK;
}
static void destroy(void* self) { (void)self; }
static tg_status pick(void* self, const void* table, const tg_pick_args* args, tg_plan* plan) {
  (void)self, (void)table, (void)args, (void)plan;
  return TG_OK;
}

tg_status (*const tp_pick)(void*, const void*, const tg_pick_args*, tg_plan*) = pick;
static const tg_policy policy = {
#ifdef SHORT_TABLE
    .size = offsetof(tg_policy, pick),
#else
    .size = sizeof policy,
#endif
#ifdef UNKNOWN_NEED
    .flags = 1u << 9,
#endif
    .create = create,
    .destroy = destroy,
#ifndef MISSING_PICK
    .pick = pick
#endif
};
static tg_status create_scorer(const tg_host* host, tg_str config, void** self, tg_error* error) {
  (void)host, (void)config, (void)self, (void)error;
  return TG_OK;
}
static tg_status create_discovery(const tg_host* host, tg_str config, tg_discovery_sink* sink, void** self,
                                  tg_error* error) {
  (void)host, (void)config, (void)sink, (void)self, (void)error;
  return TG_OK;
}
static const tg_scorer scorer = {.size = sizeof scorer, .create = create_scorer, .destroy = destroy};
static const tg_discovery discovery = {
    .size = sizeof discovery, .create = create_discovery, .destroy = destroy};

static const tg_component components[] = {
    {.size = sizeof(tg_component),
#if defined UNKNOWN_INTERFACE
     .interface_id = "tg.oracle/1",
#elif defined DRAFT
     .interface_id = "tg.draft.filter",
#elif defined SCORER_WITHOUT_SCORE
     .interface_id = TG_SCORER_INTERFACE,
#elif defined DISCOVERY_WITHOUT_RUN
                                           .interface_id = TG_DISCOVERY_INTERFACE,
#else
                                           .interface_id = TG_POLICY_INTERFACE,
#endif
#ifdef BAD_NAME
     .name = "Bad Name",
#else
     .name = "refused",
#endif
#if defined SCORER_WITHOUT_SCORE
     .functions = &scorer
#elif defined DISCOVERY_WITHOUT_RUN
     .functions = &discovery
#else
     .functions = &policy
#endif
    },
#ifdef DUPLICATE
    {.size = sizeof(tg_component),
     .interface_id = TG_POLICY_INTERFACE,
     .name = "refused",
     .functions = &policy},
#endif
};
/* Each variant leaves some of these alone. */
const void* tp_used[] = {&policy, &scorer, &discovery, components};

static const tg_plugin plugin = {
#ifdef SMALL_DESCRIPTOR
    .size = 24,
#else
    .size = sizeof plugin,
#endif
#ifdef WRONG_MAJOR
    .abi_major = 2,
#else
    .abi_major = 1,
#endif
#ifdef HIGHER_MINOR
    .abi_minor_min = 7,
#endif
    .name = "refused",
    .components = components,
#ifndef NO_COMPONENTS
    .component_count = sizeof components / sizeof *components,
#endif
    .component_stride = sizeof *components};

#if defined NO_SYMBOL
TG_EXPORT const tg_plugin* some_other_entry(void);
const tg_plugin* some_other_entry(void) { return &plugin; }
#elif defined FOREIGN_ENTRY
TG_EXPORT const tg_plugin* tg_plugin_v2(void);
const tg_plugin* tg_plugin_v2(void) { return &plugin; }
#elif defined NOT_EXPORTED
const char tp_entry[] = "tg_plugin_v1"; /* the name stands in the file, but not among what it exports */
const void* tp_plugin = &plugin;
#elif defined NULL_DESCRIPTOR
const tg_plugin* tg_plugin_v1(void) { return NULL; }
#else
const tg_plugin* tg_plugin_v1(void) { return &plugin; }
#endif
