/* A policy that the test drives: its configuration carries the address of the test's hooks, {"hooks": 1234},
 * and optionally its children, {"a": {...}, "b": {...}}, and its scorer, {"s": {...}}. The scorer's name is
 * "scripted", too. */
#ifndef TIDEGATE_TESTS_SCRIPTED_H
#define TIDEGATE_TESTS_SCRIPTED_H
#include <tidegate/plugin.h>

struct scripted_hooks;
typedef struct scripted {
  const char* name; /* of the instance */
  const tg_host_policy* policies;
  tg_child* children[2];   /* /a and /b, where they are configured */
  tg_scorer_child* scorer; /* /s */
  const struct scripted_hooks* hooks;
} scripted;

typedef struct scripted_hooks {
  void* context;
  tg_status (*pick)(void* context, const scripted*, const tg_pick_args*, tg_plan*);
  void (*complete)(void* context, const scripted*, const tg_completion*);
  tg_status (*score)(void* context, const scripted*, const void* table, const tg_pick_args*, float*);
  tg_status (*build)(void* context, const scripted*, const tg_snapshot*, void** table); /* of scorers */
} scripted_hooks;
#endif
