/* tidegate/plugin.h - what a plugin library exports: one symbol, tg_plugin_v1, that returns a constant descriptor.
 *
 * Include this header; it brings the whole contract:
 *   abi.h (rules, basic types)  worker.h (slots, live records)  plan.h (legs)  policy.h  discovery.h  host.h
 * C++ authors include plugin.hpp instead: a policy is then a class of about 15 lines.
 */
#ifndef TIDEGATE_PLUGIN_H
#define TIDEGATE_PLUGIN_H
#include "abi.h"
#include "discovery.h"
#include "host.h"
#include "plan.h"
#include "policy.h"
#include "worker.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Interface ids. "tg.draft.*" may change with any release and is loaded only with plugins.allow_draft. */
#define TG_POLICY_INTERFACE "tg.policy/1"
#define TG_SCORER_INTERFACE "tg.scorer/1"
#define TG_DISCOVERY_INTERFACE "tg.discovery/1"

/* One thing that a library offers. Names: [a-z0-9_.-]+, unique per interface among all loaded libraries. */
typedef struct tg_component {
  uint32_t size, reserved;
  const char *interface_id;
  const char *name;          /* what configurations call it */
  const char *summary;       /* one line */
  const char *config_schema; /* JSON Schema of its configuration: types, defaults, descriptions; NULL: takes none */
  const void *functions;     /* tg_policy, tg_scorer, tg_discovery */
} tg_component;

typedef struct tg_plugin {
  uint32_t size;
  uint16_t abi_major, abi_minor_min; /* works with any host minor from this one up */
  const char *name, *version, *vendor, *license;
  const tg_component *components;
  uint32_t component_count, component_stride;
  tg_status (*init)(const tg_host *, tg_error *); /* [control] opt, once after loading */
} tg_plugin;

#if defined(__GNUC__)
#define TG_EXPORT __attribute__((visibility("default")))
#else
#define TG_EXPORT
#endif

/* [any] No side effects, needs no host, cannot fail; the same pointer and content at each call. */
TG_EXPORT const tg_plugin *tg_plugin_v1(void);

#ifdef __cplusplus
}
#endif
#endif
