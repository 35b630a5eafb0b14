/* tidegate/plan.h - the route plan that a pick yields: 1 to TG_MAX_LEGS legs, each one request to one worker.
 *
 * A plain policy fills one leg with tg_plan_select(). Prefill/decode, encode/prefill/decode, mirrored or staged requests are
 * plans of several legs; the host executes them and knows no engine's protocol.
 * Execution.  Legs start in order. A leg starts together with the one before it, or once that one has ANSWERED:
 *   relayed leg: its first body byte (or the end of an empty body); drained leg: its whole body; discarded leg: its head.
 *   Only a 2xx is an answer, anything else is a failure of that leg (but see `relay_errors`).
 * Exactly one leg is RELAYed. The client gets its status, headers and body; other legs are seen by captures only.
 * A leg's load is counted on its worker from selection to its end. Each leg ends in exactly one complete().
 * Ownership.  All memory that a plan points to must live until complete() of its last leg: static, the instance's own, or
 * from tg.host.request/1 allocate(). The legs array is the host's. Neither the plan nor a leg's cookie may point into the
 * pick's table or snapshot: those are released while a long answer still streams.
 */
#ifndef TIDEGATE_PLAN_H
#define TIDEGATE_PLAN_H
#include <string.h>

#include "worker.h"
#ifdef __cplusplus
extern "C" {
#endif

#define TG_MAX_LEGS 16

enum { TG_EDIT_SET = 0, TG_EDIT_DROP = 1 }; /* default: SET */
/* One top-level JSON member of the body, or one header. Applied in order; a later edit of a name wins. Body edits need a body
 * that is a JSON object. A header that delimits the message or names its receiver can't be edited: Host, Content-Length, Expect,
 * and those of one hop (Connection, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade). Either is a slip. */
typedef struct tg_edit {
  uint32_t op, reserved;
  tg_str name;  /* unescaped member name, or header name */
  tg_str value; /* SET: raw JSON text (body) or header value; not checked for meaning, headers are refused with CR, LF, NUL */
} tg_edit;

/* Carries a top-level member of an earlier leg's JSON response into this leg's request body. */
typedef struct tg_capture {
  /* How many legs back the source is; 1: the leg before this one. So it stays right wherever a parent puts the legs, as long
   * as it takes them all. The source is DRAINed and has answered before this leg starts. */
  uint32_t legs_back;
  uint32_t required; /* 1: a missing member is a failure of the leg that should have sent it; 0: nothing is set */
  tg_str member;
  tg_str into; /* name in this leg's body; empty: the same */
} tg_capture;

enum { TG_START_WITH_PREVIOUS = 0, TG_START_AFTER_PREVIOUS = 1 };             /* default: AFTER_PREVIOUS */
enum { TG_RESPONSE_RELAY = 0, TG_RESPONSE_DRAIN = 1, TG_RESPONSE_DISCARD = 2 }; /* default: DISCARD */
/* ANEW: if nothing was relayed yet, cancel the other legs and pick again, as often as the route's retry allows; else as
 * FAIL.  FAIL: cancel the other legs; the client gets an error.  IGNORE: the plan goes on; on the relayed leg as FAIL.
 * Default: FAIL. */
enum { TG_FAILURE_FAIL = 0, TG_FAILURE_IGNORE = 1, TG_FAILURE_ANEW = 2 };
/* When a leg that is under way may be cut off: at once, or not before the first byte of its response body (its worker
 * still receives KV; waits for the leg's time limit at most). Default: AT_ONCE. */
enum { TG_CANCEL_AT_ONCE = 0, TG_CANCEL_AFTER_FIRST_ITEM = 1 };

/* What to send to a leg's worker when the leg is cancelled after it was sent; closing its connection is always done. */
typedef struct tg_cancel {
  uint32_t when, reserved;
  tg_str method; /* empty: nothing is sent */
  tg_str path, body;
} tg_cancel;

typedef struct tg_leg {
  uint32_t size, slot;
  uint32_t generation; /* 0: as in the snapshot of the pick */
  uint32_t stage;      /* TG_ROLE_*: which part this leg plays; for metrics and explanations */
  uint32_t start, response, on_failure;
  uint32_t time_limit_ms; /* from its start to its answer; 0: the route's limits only */
  uint32_t relay_errors;  /* 1 (RELAY only): a response that is not 2xx is relayed to the client as it is when no retry is left */
  uint32_t edit_count, header_count, capture_count;
  const tg_edit *edits;   /* of the body's top level */
  const tg_edit *headers; /* of the request head */
  const tg_capture *captures;
  tg_str path; /* empty: the client's */
  tg_cancel cancel;
  uint64_t cookie; /* yours; comes back in complete() */
  uint64_t ticket; /* the host's: tells it which child chose this leg. Copy it with the leg, change nothing */
} tg_leg;

/* Another value is a slip: the route's fallback picks. */
enum { TG_PICK_SELECT = 0, TG_PICK_WAIT = 1, TG_PICK_FAIL = 2, TG_PICK_SHED = 3 };

/* Given to pick() with verdict FAIL, leg_count 0 and room for TG_MAX_LEGS legs. */
typedef struct tg_plan {
  uint32_t size;
  uint32_t verdict;        /* SELECT: run the legs. WAIT: park, ask again when something has changed. FAIL: an error to the
                              client (503). SHED: 429 with retry_after_ms. */
  uint32_t leg_count, leg_stride;
  tg_leg *legs;
  uint32_t retry_after_ms; /* WAIT, FAIL, SHED; 0: the host's choice */
  uint32_t transform;      /* 1: the relayed body passes through the policy's transform(), also when a parent takes the
                              relayed leg (then before the parent's own); a slip without a transform() */
  tg_str reason;           /* short, for logs and explanations */
} tg_plan;

/* [request] hot. Appends a zeroed leg, so one that is RELAYed and FAILs the plan; NULL when the plan is full. Takes `start` of its place: legs after the first wait for
 * the one before, unless set otherwise. */
static inline tg_leg *tg_plan_add(tg_plan *plan, uint32_t slot) {
  tg_leg *leg;
  if (plan->leg_count >= TG_MAX_LEGS) return NULL;
  leg = (tg_leg *)(void *)((char *)plan->legs + (size_t)plan->leg_count * plan->leg_stride);
  memset(leg, 0, plan->leg_stride);
  leg->size = (uint32_t)sizeof *leg < plan->leg_stride ? (uint32_t)sizeof *leg : plan->leg_stride;
  leg->slot = slot;
  leg->start = plan->leg_count ? TG_START_AFTER_PREVIOUS : TG_START_WITH_PREVIOUS;
  plan->leg_count++;
  plan->verdict = TG_PICK_SELECT;
  return leg;
}
/* [request] hot. The whole plan of a plain policy: one relayed leg that is planned anew when it fails. */
static inline tg_leg *tg_plan_select(tg_plan *plan, uint32_t slot) {
  tg_leg *leg;
  plan->leg_count = 0;
  leg = tg_plan_add(plan, slot);
  leg->on_failure = TG_FAILURE_ANEW;
  leg->relay_errors = 1;
  return leg;
}
/* [request] hot. Appends a copy of a leg that a child chose, but with the `start` of its new place: who takes a plan of several
 * legs copies `start` too, from the second leg on. */
static inline tg_leg *tg_plan_take(tg_plan *plan, const tg_leg *from) {
  tg_leg *leg = tg_plan_add(plan, from->slot);
  if (leg) {
    uint32_t start = leg->start;
    uint32_t n = from->size < leg->size ? from->size : leg->size;
    memcpy(leg, from, n);
    leg->size = n;
    leg->start = start;
  }
  return leg;
}

#ifdef __cplusplus
}
#endif
#endif
