/* tidegate/policy.h - choosing workers: "tg.policy/1" and "tg.scorer/1".
 *
 * An instance is made by create() from its configuration. Whenever membership changes, build() makes an immutable table from
 * the new snapshot; the host publishes (snapshot, tables of all instances) as one unit, so a pick never sees a table that
 * does not fit its snapshot and a policy never locks against membership changes. After a build() that failed there is no such
 * table: the instance is not asked (the route's fallback picks, a parent gets TG_E_UNAVAILABLE) until a later one succeeds.
 * The shape is gRPC's: LoadBalancingPolicy on the control side, SubchannelPicker on the data side.
 * pick() only reads. What it wants to remember goes through tg.host.request/1 remember() to learn() on the control thread.
 * Lifetime: create, [adopt|import_state], { build, pick*, learn*, release }*, destroy; tables of one instance may live side by
 * side. A request holds its pick's table and snapshot only until the client gets its first byte: complete() and transform()
 * of a leg may come after both are gone. destroy comes after every [request] call has returned, every complete() that is
 * owed was given and every table was released.
 */
#ifndef TIDEGATE_POLICY_H
#define TIDEGATE_POLICY_H
#include "plan.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Flags of a component. Unknown bits 0-15 make it unloadable ("needs"), unknown bits 16-31 are ignored ("hints"). */
enum {
  TG_NEED_KEY = 1u << 0,         /* tg_pick_args.key */
  TG_NEED_PROMPT = 1u << 1,      /* tg_pick_args.spans */
  TG_NEED_ENGINE_LOAD = 1u << 2, /* the engine's report in live records; see there */
  TG_CONCURRENT = 1u << 16       /* [request] calls may run at once; without it the host serialises them per instance */
};

/* A piece of the prompt as it stands in the body: nothing is copied. */
enum { TG_SPAN_TEXT = 0, TG_SPAN_SYSTEM = 1, TG_SPAN_USER = 2, TG_SPAN_ASSISTANT = 3, TG_SPAN_TOOL = 4 }; /* default: TEXT */
enum { TG_SPAN_ESCAPED = 1, /* the bytes hold JSON escapes */
       TG_SPAN_TOKENS = 2,  /* the bytes are a JSON array of token ids */
       TG_SPAN_MEDIA = 4 }; /* the bytes refer to an image, audio, ... */
typedef struct tg_span {
  uint32_t role, flags;
  tg_str bytes; /* raw JSON bytes, without the quotes of a string */
} tg_span;

enum {                  /* tg_pick_args.flags */
  TG_PICK_STREAM = 1,   /* the client asked for a stream */
  TG_PICK_EXPLAIN = 2   /* somebody reads tg_plan.reason: say why, with figures; else a reason is optional */
};

typedef struct tg_pick_args {
  uint32_t size, flags;
  uint32_t attempt;      /* 0 first; workers already tried are not among the candidates again */
  uint32_t stage;        /* TG_ROLE_*: what the parent wants chosen; ANY for the root */
  uint32_t prior_slot;   /* a worker chosen before in this plan (a decode pick: the prefill worker), or TG_NONE */
  uint32_t candidate_count;
  const tg_snapshot *snapshot;
  /* Slots that serve this model and stage, ascending; never empty for the root, whose stage is the lowest role that its
   * traits name: ANY for a plain policy. */
  const uint32_t *candidates;
  const tg_slots *by_role;    /* the same model's candidates by TG_ROLE_*; TG_ROLE_COUNT entries */
  tg_str model, key, path, body; /* body: what the client sent, whole. key: session or routing key */
  const tg_span *spans;
  uint32_t span_count, prompt_tokens_est, max_new_tokens, batch; /* TG_NONE where unknown; batch: prompts x n, at least 1 */
  uint64_t request_id, key_hash, now_ns, deadline_ns; /* the host's monotonic clock; deadline 0: none is set */
  const tg_request *request;
} tg_pick_args;

enum { TG_OUTCOME_OK = 0,        /* answered as planned */
       TG_OUTCOME_FAILED = 1,    /* the worker failed: status and http_status say how */
       TG_OUTCOME_CANCELLED = 2, /* cut off by the client or by another leg's failure; the worker is not to blame */
       TG_OUTCOME_NEVER_SENT = 3, /* selected, but the plan ended or was refused before it started */
       TG_OUTCOME_DROPPED = 4 }; /* a child's pick that its parent did not use */ /* default: CANCELLED */
typedef struct tg_completion {
  uint32_t size, slot, generation, attempt, leg, outcome;
  tg_status status;
  uint32_t http_status; /* 0: no head came */
  uint64_t request_id, cookie;
  uint32_t prompt_tokens_est;
  uint32_t prompt_tokens, cached_tokens, output_tokens; /* reported by the engine; TG_NONE: not reported, never 0 */
  uint32_t output_events;                               /* token events counted by the gateway in a stream */
  uint32_t stage;
  uint64_t queue_us, ttft_us, total_us; /* selection to sent, sent to first body byte (0: none came), sent to end */
} tg_completion;

/* One thing remembered by a pick. */
typedef struct tg_record {
  const void *data; /* aligned to 8 */
  uint32_t len, reserved;
} tg_record;

/* What create() tells of the new instance; the host gives it zeroed. */
typedef struct tg_policy_traits {
  uint32_t size;
  uint32_t roles; /* TG_ROLE_BITs of which each must have a ready worker for the route to be ready; 0: ANY */
  uint32_t needs; /* TG_NEED_* beyond the component's flags */
  uint32_t reserved;
} tg_policy_traits;

/* One piece of a relayed body on its way to the client. */
typedef struct tg_transform_args {
  uint32_t size, last;        /* last: nothing follows; data may be empty then */
  uint32_t sse;               /* 1: data is the payload of one server-sent event; 0: the whole JSON body */
  uint32_t earlier_count;
  const tg_str *earlier;      /* by leg index in this policy's own plan: bodies of drained legs; empty where there is none */
  const tg_request *request;
  uint64_t cookie;            /* of the relayed leg */
  tg_str data;
} tg_transform_args;

typedef struct tg_policy {
  uint32_t size, flags;
  uint64_t state_id; /* changed by the author with the layout of the state that adopt() shares; 0: never adopted */
  /* [control] config_json was checked against the component's schema and has its defaults filled in. No network. */
  tg_status (*create)(const tg_host *, tg_str config_json, tg_policy_traits *, void **self, tg_error *);
  void (*destroy)(void *self); /* [control] the last call */
  /* [control] opt. Same component, instance name and state_id (so the same layout): share state with the instance that is
   * being replaced. `previous` serves on until it is drained: share by counted pointer, do not move. */
  tg_status (*adopt)(void *self, void *previous);
  tg_status (*export_state)(void *self, tg_out *);                              /* [control] opt: bytes of your own format */
  tg_status (*import_state)(void *self, tg_str bytes);                          /* [control] opt: of an older build; may refuse */
  /* [control] opt; see above. The snapshot lives until the table was released. It may have no worker at all. */
  tg_status (*build)(void *self, const tg_snapshot *, void **table, tg_error *);
  void (*release)(void *self, void *table);                                     /* [control] opt; no request uses it any more */
  /* [request] table: what build() made of args->snapshot; NULL without a build(). A failure, a slot outside the candidates or
   * a malformed plan costs this request the policy: the route's fallback picks, and the slip is counted. */
  tg_status (*pick)(void *self, const void *table, const tg_pick_args *, tg_plan *);
  /* [request] opt. Exactly one for each leg of each SELECT, with two exceptions: a plan that was refused as malformed counts
   * as none, its legs get none; an instance that is quarantined for a stall gets none any more, as it might hang again. */
  void (*complete)(void *self, const tg_completion *);
  /* [request] opt. What is written goes to the client instead of args->data, nothing written drops an event. After a failure
   * the piece goes on unchanged. May allocate what it writes; time as for pick. */
  tg_status (*transform)(void *self, const tg_transform_args *, tg_out *);
  /* [control] opt. What picks remembered, oldest first per thread. *rebuild = 1 asks for build() and a new publication. */
  void (*learn)(void *self, const tg_record *, uint32_t count, uint32_t *rebuild);
  tg_status (*describe)(void *self, tg_out *json); /* [control] opt: a JSON object for /plugins and bug reports */
} tg_policy;

/* Says how well each candidate suits a request. A policy has scorers as children (tg.host.policy/1 create_scorer), asks them in
 * its pick and weighs what they say. Lifetime and threads as of a policy; a snapshot that build() fails for is not scored. */
typedef struct tg_scorer {
  uint32_t size, flags;
  tg_status (*create)(const tg_host *, tg_str config_json, void **self, tg_error *);   /* [control] */
  void (*destroy)(void *self);                                                         /* [control] */
  tg_status (*build)(void *self, const tg_snapshot *, void **table, tg_error *);       /* [control] opt */
  void (*release)(void *self, void *table);                                            /* [control] opt */
  /* [request] Fills out[candidate_count]: out[i] from 0 (unfit) to 1 (best) for args->candidates[i]. A failure, and a number
   * outside of that range, is a slip: the parent gets no scores from this call. */
  tg_status (*score)(void *self, const void *table, const tg_pick_args *, float *out);
  /* [request] opt. Once for each leg that its parent is completed for, before the parent; cookie is 0. */
  void (*complete)(void *self, const tg_completion *);
} tg_scorer;

#ifdef __cplusplus
}
#endif
#endif
