/* tidegate/worker.h - workers as a plugin sees them: what each is (immutable), and how it does (live).
 *
 * Slots.  A worker keeps its slot while it exists. A freed slot is used again only after every snapshot that showed it is
 * gone, with generation + 1: keep state in an array by slot, and compare generations instead of hashing ids.
 * Threads.  A snapshot and its info records never change. Live records are written in place by other threads: read their
 * members with tg_live_get() only. Members of one record may be from different moments: derive no invariant across them.
 * Ownership.  The host's. A snapshot given to build() lives until release() of the table made from it has returned; one
 * given in tg_pick_args lives during that call.
 */
#ifndef TIDEGATE_WORKER_H
#define TIDEGATE_WORKER_H
#include "abi.h"
#ifdef __cplusplus
extern "C" {
#endif

enum { TG_WORKER_STARTING = 0, TG_WORKER_READY = 1, TG_WORKER_DRAINING = 2, TG_WORKER_UNHEALTHY = 3,
       TG_WORKER_GONE = 4 }; /* default: not selectable */

/* What a worker can do. ANY serves whole requests (aggregated). Default: ANY. */
enum { TG_ROLE_ANY = 0, TG_ROLE_PREFILL = 1, TG_ROLE_DECODE = 2, TG_ROLE_ENCODE = 3, TG_ROLE_COUNT = 4 };
#define TG_ROLE_BIT(role) (1u << (role))

/* What a worker is. One entry of an array: step by tg_snapshot.info_stride. */
typedef struct tg_worker_info {
  uint32_t size, slot, generation, role;
  tg_str id, url, zone;
  const tg_str *models; /* none: serves any model */
  uint32_t model_count, label_count;
  const tg_kv *labels;
  uint32_t weight_milli; /* 1000 = normal */
  uint32_t bootstrap_port; /* 0: none; prefill and encode workers' rendezvous port */
  uint32_t max_running;    /* 0: unknown */
  uint32_t block_tokens;   /* tokens of a KV block; 0: unknown */
  uint64_t kv_blocks;      /* 0: unknown */
} tg_worker_info;

/* How it does: one cache line by slot. Written with relaxed atomics; read with tg_live_get(&record->member). */
typedef struct tg_worker_live {
  uint32_t state;           /* TG_WORKER_* */
  uint32_t generation;
  uint32_t inflight;        /* requests (legs) that this gateway has selected it for and that have not ended */
  uint32_t inflight_tokens; /* their estimated prompt tokens */
  /* The engine's own report. This host does not ask engines yet: all of it is 0 while load_at_ms is 0. */
  uint32_t running, waiting;
  uint32_t kv_used_ppm;
  uint32_t load_at_ms;   /* low 32 bits of the host's monotonic milliseconds of that report; 0: none yet */
  uint32_t ttft_ewma_us; /* observed by the gateway; 0: none yet */
  uint32_t itl_ewma_us;  /* inter-token latency */
  uint32_t error_ppm;    /* share of legs that failed lately; 0 in this host, which does not keep it yet */
  uint32_t reserved[5];
} tg_worker_live;

/* A list of slots. */
typedef struct tg_slots {
  const uint32_t *slots;
  uint32_t count, reserved;
} tg_slots;

/* One membership of the fleet. */
typedef struct tg_snapshot {
  uint32_t size, count;
  uint64_t epoch;            /* grows with each membership */
  const void *info;          /* count tg_worker_info records, ascending slot; see tg_info_at */
  uint32_t info_stride;
  uint32_t slot_capacity;    /* every slot is below it; may grow from epoch to epoch */
  const uint32_t *index;     /* slot -> position in info, or TG_NONE; slot_capacity entries */
  const void *live;          /* slot_capacity tg_worker_live records; see tg_live_at */
  uint32_t live_stride, reserved;
} tg_snapshot;

/* [any] hot. The position-th worker; position < count. */
static inline const tg_worker_info *tg_info_at(const tg_snapshot *s, uint32_t position) {
  return (const tg_worker_info *)(const void *)((const char *)s->info + (size_t)position * s->info_stride);
}
/* [any] hot. The worker in a slot, or NULL. */
static inline const tg_worker_info *tg_info_of(const tg_snapshot *s, uint32_t slot) {
  return slot < s->slot_capacity && s->index[slot] != TG_NONE ? tg_info_at(s, s->index[slot]) : NULL;
}
/* [any] hot. The live record of a slot; slot < slot_capacity. */
static inline const tg_worker_live *tg_live_at(const tg_snapshot *s, uint32_t slot) {
  return (const tg_worker_live *)(const void *)((const char *)s->live + (size_t)slot * s->live_stride);
}
/* [any] hot. Reads one member of a live record. Relaxed: each member is a number of its own, nothing is published by it. */
static inline uint32_t tg_live_get(const uint32_t *member) { return __atomic_load_n(member, __ATOMIC_RELAXED); }

#ifdef __cplusplus
}
#endif
#endif
