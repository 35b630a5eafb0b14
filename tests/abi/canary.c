/* The canary of the ABI gate: takes a pointer to every public struct, so that abidw sees them all, and holds
 * the numbers that plugins were compiled with. Layouts of released minors stand in layout.h, made by
 * abi_gate.sh --update; constants stand here, by hand, for they never change: a new one is a new line. */
#include <tidegate/plugin.h>

#include "layout.h"

#define CONSTANT(name, value) \
  _Static_assert((name) == (value), #name " has another value than plugins were built with")
CONSTANT(TG_OK, 0);
CONSTANT(TG_E_INVALID, 1);
CONSTANT(TG_E_CONFIG, 2);
CONSTANT(TG_E_UNSUPPORTED, 3);
CONSTANT(TG_E_UNAVAILABLE, 4);
CONSTANT(TG_E_TIMEOUT, 5);
CONSTANT(TG_E_CANCELLED, 6);
CONSTANT(TG_E_NOT_FOUND, 7);
CONSTANT(TG_E_LIMIT, 8);
CONSTANT(TG_E_INTERNAL, 9);
CONSTANT(TG_WORKER_STARTING, 0);
CONSTANT(TG_WORKER_READY, 1);
CONSTANT(TG_WORKER_DRAINING, 2);
CONSTANT(TG_WORKER_UNHEALTHY, 3);
CONSTANT(TG_WORKER_GONE, 4);
CONSTANT(TG_ROLE_ANY, 0);
CONSTANT(TG_ROLE_PREFILL, 1);
CONSTANT(TG_ROLE_DECODE, 2);
CONSTANT(TG_ROLE_ENCODE, 3);
CONSTANT(TG_ROLE_COUNT, 4);
CONSTANT(TG_EDIT_SET, 0);
CONSTANT(TG_EDIT_DROP, 1);
CONSTANT(TG_START_WITH_PREVIOUS, 0);
CONSTANT(TG_START_AFTER_PREVIOUS, 1);
CONSTANT(TG_RESPONSE_RELAY, 0);
CONSTANT(TG_RESPONSE_DRAIN, 1);
CONSTANT(TG_RESPONSE_DISCARD, 2);
CONSTANT(TG_FAILURE_FAIL, 0);
CONSTANT(TG_FAILURE_IGNORE, 1);
CONSTANT(TG_FAILURE_ANEW, 2);
CONSTANT(TG_CANCEL_AT_ONCE, 0);
CONSTANT(TG_CANCEL_AFTER_FIRST_ITEM, 1);
CONSTANT(TG_PICK_SELECT, 0);
CONSTANT(TG_PICK_WAIT, 1);
CONSTANT(TG_PICK_FAIL, 2);
CONSTANT(TG_PICK_SHED, 3);
CONSTANT(TG_NEED_KEY, 1);
CONSTANT(TG_NEED_PROMPT, 2);
CONSTANT(TG_NEED_ENGINE_LOAD, 4);
CONSTANT(TG_CONCURRENT, 1u << 16);
CONSTANT(TG_SPAN_TEXT, 0);
CONSTANT(TG_SPAN_SYSTEM, 1);
CONSTANT(TG_SPAN_USER, 2);
CONSTANT(TG_SPAN_ASSISTANT, 3);
CONSTANT(TG_SPAN_TOOL, 4);
CONSTANT(TG_SPAN_ESCAPED, 1);
CONSTANT(TG_SPAN_TOKENS, 2);
CONSTANT(TG_SPAN_MEDIA, 4);
CONSTANT(TG_PICK_STREAM, 1);
CONSTANT(TG_PICK_EXPLAIN, 2);
CONSTANT(TG_OUTCOME_OK, 0);
CONSTANT(TG_OUTCOME_FAILED, 1);
CONSTANT(TG_OUTCOME_CANCELLED, 2);
CONSTANT(TG_OUTCOME_NEVER_SENT, 3);
CONSTANT(TG_OUTCOME_DROPPED, 4);
CONSTANT(TG_DISCOVERY_ALLOW_EMPTY, 1u << 16);
CONSTANT(TG_LOG_TRACE, 0);
CONSTANT(TG_LOG_DEBUG, 1);
CONSTANT(TG_LOG_INFO, 2);
CONSTANT(TG_LOG_WARN, 3);
CONSTANT(TG_LOG_ERROR, 4);
CONSTANT(TG_TLS_STRICT, 0);
CONSTANT(TG_TLS_NO_HOSTNAME, 1);
CONSTANT(TG_TLS_OFF, 2);
CONSTANT(TG_ABI_MAJOR, 1);
CONSTANT(TG_MAX_LEGS, 16);
CONSTANT(TG_NONE, 0xffffffffu);

#define CANARY(type)                      \
  void canary_##type(struct type* value); \
  void canary_##type(struct type* value) { (void)value; }
CANARY(tg_str)
CANARY(tg_kv)
CANARY(tg_error)
CANARY(tg_out)
CANARY(tg_stop)
CANARY(tg_worker_info)
CANARY(tg_worker_live)
CANARY(tg_slots)
CANARY(tg_snapshot)
CANARY(tg_edit)
CANARY(tg_capture)
CANARY(tg_cancel)
CANARY(tg_leg)
CANARY(tg_plan)
CANARY(tg_span)
CANARY(tg_pick_args)
CANARY(tg_completion)
CANARY(tg_record)
CANARY(tg_policy_traits)
CANARY(tg_transform_args)
CANARY(tg_policy)
CANARY(tg_scorer)
CANARY(tg_worker_desc)
CANARY(tg_discovery_sink)
CANARY(tg_discovery)
CANARY(tg_host)
CANARY(tg_host_log)
CANARY(tg_host_metrics)
CANARY(tg_host_config)
CANARY(tg_host_clock)
CANARY(tg_host_control)
CANARY(tg_http_call)
CANARY(tg_http_reply)
CANARY(tg_host_http)
CANARY(tg_host_policy)
CANARY(tg_host_request)
CANARY(tg_component)
CANARY(tg_plugin)
