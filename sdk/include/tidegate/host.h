/* tidegate/host.h - what the host offers: small interfaces asked for by id.
 *
 * get_interface() returns NULL for an id that this host does not know: every interface but "tg.host.log/1" is optional in
 * principle, and a plugin says in create() what it cannot do without. Tables stay valid until the instance's destroy has
 * returned. All text given to the host is copied before the call returns.
 */
#ifndef TIDEGATE_HOST_H
#define TIDEGATE_HOST_H
#include "policy.h"
#ifdef __cplusplus
extern "C" {
#endif

struct tg_host {
  uint32_t size;
  uint16_t abi_major, abi_minor;
  const char *product, *version;     /* "tidegate", "0.1.0" */
  const char *component, *instance;  /* this component; its name in configuration, logs and metrics */
  const void *(*get_interface)(const tg_host *, const char *id); /* [any] cannot fail; NULL: not offered */
};

enum { TG_LOG_TRACE = 0, TG_LOG_DEBUG = 1, TG_LOG_INFO = 2, TG_LOG_WARN = 3, TG_LOG_ERROR = 4 }; /* default: INFO */

#define TG_HOST_LOG "tg.host.log/1"
typedef struct tg_host_log { /* [any]; from [request] only when enabled() says so: never blocks, lines may be dropped and counted */
  uint32_t size, reserved;
  bool (*enabled)(const tg_host *, int32_t level);
  void (*write)(const tg_host *, int32_t level, tg_str text, const tg_kv *fields, uint32_t count);
} tg_host_log;

#define TG_HOST_METRICS "tg.host.metrics/1"
typedef uint64_t tg_metric; /* 0: none; every function accepts it and does nothing */
typedef struct tg_host_metrics { /* names get the prefix tidegate_plugin_<component>_ and a label `instance` */
  uint32_t size, reserved;
  tg_metric (*counter)(const tg_host *, tg_str name, tg_str help, const tg_kv *labels, uint32_t count);   /* [control] */
  tg_metric (*gauge)(const tg_host *, tg_str name, tg_str help, const tg_kv *labels, uint32_t count);     /* [control] */
  tg_metric (*histogram)(const tg_host *, tg_str name, tg_str help, const tg_kv *labels, uint32_t count,
                         const double *bounds, uint32_t bound_count);                                     /* [control] */
  void (*add)(const tg_host *, tg_metric, double);     /* [any] hot: counters and gauges */
  void (*set)(const tg_host *, tg_metric, double);     /* [any] hot: gauges */
  void (*observe)(const tg_host *, tg_metric, double); /* [any] hot: histograms */
} tg_host_metrics;

#define TG_HOST_CONFIG "tg.host.config/1"
typedef struct tg_host_config { /* [control], inside create() only. path: JSON pointer into this instance's configuration */
  uint32_t size, reserved;
  bool (*boolean)(const tg_host *, tg_str path, bool otherwise);
  int64_t (*integer)(const tg_host *, tg_str path, int64_t otherwise);
  double (*number)(const tg_host *, tg_str path, double otherwise);
  tg_str (*string)(const tg_host *, tg_str path, tg_str otherwise); /* valid until create() returns */
  uint64_t (*duration_ms)(const tg_host *, tg_str path, uint64_t otherwise); /* "250ms", "5s", or a number of seconds */
  uint32_t (*count)(const tg_host *, tg_str path);                  /* entries of a list or object; 0 for anything else */
  tg_status (*json)(const tg_host *, tg_str path, tg_out *);        /* that part as JSON text; TG_E_NOT_FOUND */
  tg_status (*secret)(const tg_host *, tg_str ref, tg_out *);       /* the value of a secret by name */
  /* The name of an object's member, unescaped; index below count(). Empty for anything else. Valid until create() returns. */
  tg_str (*key)(const tg_host *, tg_str path, uint32_t index);
} tg_host_config;

#define TG_HOST_CLOCK "tg.host.clock/1"
typedef struct tg_host_clock { /* [any] hot; a test or a replay fakes it */
  uint32_t size, reserved;
  uint64_t (*monotonic_ns)(const tg_host *);
  uint64_t (*unix_ms)(const tg_host *);
  uint64_t (*random)(const tg_host *); /* 64 uniform bits, not for secrets */
} tg_host_clock;

#define TG_HOST_CONTROL "tg.host.control/1"
typedef struct tg_host_control {
  uint32_t size, reserved;
  tg_status (*post)(const tg_host *, void (*fn)(void *), void *arg); /* [any] fn runs on [control] unless destroy came first */
  uint64_t (*timer)(const tg_host *, uint64_t first_ms, uint64_t every_ms, void (*fn)(void *), void *arg); /* [control] every 0: once */
  void (*cancel)(const tg_host *, uint64_t timer); /* [control] after it fn does not run */
  bool (*on_control_thread)(const tg_host *);      /* [any] */
  void (*rebuild)(const tg_host *);                /* [any] asks for build() and a new publication, soon; many become one */
} tg_host_control;

#define TG_HOST_HTTP "tg.host.http/1"
enum { TG_TLS_STRICT = 0, TG_TLS_NO_HOSTNAME = 1, TG_TLS_OFF = 2 }; /* verification; default: STRICT */
typedef struct tg_http_call { /* start from zero and set size */
  uint32_t size, timeout_ms;     /* 0: 10 s; of a stream: the longest silence */
  uint32_t tls_verify, header_count;
  tg_str method, url, body;      /* method empty: GET */
  const tg_kv *headers;
  tg_str bearer_file;            /* read anew when it changes; empty: none */
  tg_str ca_file, ca_pem;        /* empty: the system's */
  tg_str client_cert_file, client_key_file, client_cert_pem, client_key_pem;
  tg_str tls_server_name;        /* empty: from the url */
  uint64_t max_body;             /* of a call: longer replies fail with TG_E_LIMIT; 0: 16 MiB */
} tg_http_call;
typedef struct tg_http_reply {
  uint32_t size, status, header_count, reserved;
  const tg_kv *headers;
  tg_str body;
} tg_http_reply;
typedef struct tg_host_http { /* [runner]; blocks until done; the stop token ends it with TG_E_CANCELLED */
  uint32_t size, reserved;
  tg_status (*call)(const tg_host *, const tg_http_call *, const tg_stop *, void (*on_reply)(void *, const tg_http_reply *),
                    void *arg, tg_error *);
  /* on_head once, then on_data as bytes come; false from either ends the stream with TG_OK. */
  tg_status (*stream)(const tg_host *, const tg_http_call *, const tg_stop *, bool (*on_head)(void *, const tg_http_reply *),
                      bool (*on_data)(void *, tg_str), void *arg, tg_error *);
} tg_host_http;

#define TG_HOST_POLICY "tg.host.policy/1"
typedef struct tg_child tg_child; /* a policy below this one; the host builds, releases and destroys it with its parent */
typedef struct tg_scorer_child tg_scorer_child; /* a scorer below this policy; likewise */
typedef struct tg_host_policy {
  uint32_t size, reserved;
  /* [control] inside create() only. path: JSON pointer to a {plugin, config} section in this instance's configuration.
   * traits (may be NULL) gets the child's. Depth is at most 8. */
  tg_status (*create)(const tg_host *, tg_str path, tg_child **, tg_policy_traits *, tg_error *);
  /* [request] hot. The child's plan is the host's and lives as long as the request: take legs with tg_plan_take(). A leg that
   * is not taken ends in complete() DROPPED. args may be a changed copy: candidates may be a subset.
   * TG_OK with any verdict; TG_E_INTERNAL, the child slipped; TG_E_UNAVAILABLE, it is quarantined or could not build its table;
   * TG_E_LIMIT, the request's memory is used up; TG_E_INVALID, no pick is going on. */
  tg_status (*pick)(const tg_child *, const tg_pick_args *, const tg_plan **);
  /* [control] inside create() only. As create(), for a section that names a component of tg.scorer/1. */
  tg_status (*create_scorer)(const tg_host *, tg_str path, tg_scorer_child **, tg_error *);
  /* [request] hot, inside pick() only. One call for all of args->candidates: scores has room for candidate_count numbers, from
   * 0 to 1 when TG_OK. Else all are 0: TG_E_INTERNAL, the scorer slipped; TG_E_UNAVAILABLE, it is out of service or could not
   * build its table; TG_E_INVALID, no pick is going on. Go on without it. */
  tg_status (*score)(const tg_scorer_child *, const tg_pick_args *, float *scores);
} tg_host_policy;

#define TG_HOST_REQUEST "tg.host.request/1"
typedef struct tg_host_request { /* [request] hot, with the handle of this call's arguments */
  uint32_t size, reserved;
  tg_str (*header)(const tg_request *, tg_str name); /* the client's first header of that name; empty: none.
                                                        Valid until the call that asked returns: copy it into a plan */
  void *(*allocate)(const tg_request *, size_t len, size_t align); /* zeroed; freed with the request; NULL over 64 KiB in all */
  /* Copies len <= 64 KiB bytes into a bounded queue of this thread, handed to learn() of this instance. False: full, dropped
   * and counted. */
  bool (*remember)(const tg_host *, const tg_request *, const void *data, uint32_t len);
} tg_host_request;

#ifdef __cplusplus
}
#endif
#endif
