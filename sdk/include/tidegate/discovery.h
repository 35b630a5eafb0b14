/* tidegate/discovery.h - finding workers: "tg.discovery/1".
 *
 * run() lives on a thread of its own, may block, and reports through the sink until its stop token says so. Each source has a
 * namespace of its own: ids are the source's, two sources may use the same id. Slots are the host's business.
 * Order of sink calls is kept. The host holds back a publish that is empty or shrinks the source by more than half, for its
 * panic hold, unless TG_DISCOVERY_ALLOW_EMPTY is set: a flaky source never takes down a fleet. After the hold the list is in
 * force, if no other was published.
 */
#ifndef TIDEGATE_DISCOVERY_H
#define TIDEGATE_DISCOVERY_H
#include "worker.h"
#ifdef __cplusplus
extern "C" {
#endif

/* A worker as a source knows it. The host copies before the sink call returns. Start from zero and set `size`. */
typedef struct tg_worker_desc {
  uint32_t size, role;
  uint32_t draining; /* 1: takes no new requests, its requests may end */
  uint32_t weight_milli; /* 0: 1000 */
  tg_str id;  /* unique and stable within this source */
  tg_str url; /* http://host:port; IPv6 in brackets. https:// is TG_E_INVALID: TLS to workers is not served yet */
  tg_str zone;
  const tg_str *models; /* none: it serves any */
  uint32_t model_count, label_count;
  const tg_kv *labels;
  tg_str secret_ref;  /* the worker's own key, sent instead of the client's: file:/path, ${NAME}, or the key itself */
  tg_str health_path; /* empty: the host's default */
  uint32_t bootstrap_port, max_running, block_tokens;
  uint32_t ttl_ms; /* 0: until removed; else gone when not reported again within this time */
  uint64_t kv_blocks;
} tg_worker_desc;

/* [any], but one call at a time; order is kept. All return TG_OK, TG_E_INVALID (text in *error) or TG_E_CANCELLED once the
 * source is being stopped. `error` may be NULL. */
typedef struct tg_discovery_sink {
  uint32_t size, reserved;
  /* The whole truth of this source: what is not in it is removed. Idempotent. `stride` is the caller's sizeof. */
  tg_status (*publish)(struct tg_discovery_sink *, const tg_worker_desc *, uint32_t count, uint32_t stride, tg_error *);
  tg_status (*upsert)(struct tg_discovery_sink *, const tg_worker_desc *, tg_error *);
  tg_status (*remove)(struct tg_discovery_sink *, tg_str id, tg_str reason, tg_error *);
  void (*synced)(struct tg_discovery_sink *);                         /* the first full list was delivered; readiness waits for it */
  void (*failed)(struct tg_discovery_sink *, tg_status, tg_str text); /* the last good set stays */
} tg_discovery_sink;

enum { TG_DISCOVERY_ALLOW_EMPTY = 1u << 16 }; /* an empty publish is meant */

typedef struct tg_discovery {
  uint32_t size, flags;
  /* [control] The sink stays valid until destroy. No network here. */
  tg_status (*create)(const tg_host *, tg_str config_json, tg_discovery_sink *, void **self, tg_error *);
  void (*destroy)(void *self); /* [control] after run() has returned */
  /* [runner] Returns TG_OK when stop was wanted or when nothing will ever change (a static list). A failure is logged and
   * run() is called again after a pause that grows. */
  tg_status (*run)(void *self, const tg_stop *, tg_error *);
  tg_status (*describe)(void *self, tg_out *json); /* [any] opt */
} tg_discovery;

#ifdef __cplusplus
}
#endif
#endif
