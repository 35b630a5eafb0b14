/* tidegate/abi.h - the ground rules and basic types of Tidegate's plugin ABI, major 1.  C99, no dependencies.
 *
 * The ten rules
 *  1 One exported symbol, tg_plugin_v1: pure, callable without a host, on any thread.
 *  2 Every struct that may grow starts with its own size, written by the side that fills it. A member newer than minor 0
 *    is read only after TG_HAS(). Members are appended; never moved, removed, resized or given another meaning.
 *    A struct without a size never grows. Arrays of growing structs come with their stride.
 *  3 A changed meaning is a changed interface: a new id ("tg.policy/2"); the old one is served on for two releases.
 *  4 Arguments are borrowed for the call: copy what you keep. Nobody frees what the other side allocated.
 *  5 tg_str is UTF-8 with a length, not NUL-terminated. `const char *` of descriptors live as long as the library.
 *  6 A function either returns tg_status (details in the caller's tg_error) or says that it cannot fail.
 *  7 Nothing is thrown across, in either direction; no longjmp.
 *  8 Each function names its threads; see below.
 *  9 An enum value that you do not know is not an error: use the default named beside the enum.
 * 10 A library stays loaded for ever. Everything else has a destroy.
 *
 * Threads
 *  [control]  one thread of the host; never two control calls at a time on one instance. No network; target < 50 ms.
 *  [request]  the host's I/O threads, many at once; serialised per instance unless the instance is TG_CONCURRENT.
 *             Without that flag build, learn, describe, export_state and adopt (of the previous instance) take turns with these
 *             calls as well, so keep them short; with it, they run beside them. Functions given to tg.host.control/1 and
 *             release() always run beside them.
 *             Always hot: no allocation, no blocking lock, no I/O; time bounded by the number of candidates and the prompt.
 *  [runner]   a thread that the host starts for this instance; may block; returns within 5 s of its stop token.
 *  [any]      any thread of the process, concurrently, the plugin's own threads included.
 *
 * Versions
 *  The symbol carries the major. tg_plugin.abi_minor_min is the LOWEST minor the plugin can live with, not the one that it
 *  was built with. History of minors, newest first:
 *    0  2026-11  first form
 */
#ifndef TIDEGATE_ABI_H
#define TIDEGATE_ABI_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define TG_ABI_MAJOR 1
#define TG_ABI_MINOR 0

/* True when the side that filled *s knew the member m. */
#define TG_HAS(s, m) ((s)->size >= offsetof(__typeof__(*(s)), m) + sizeof((s)->m))
/* "No slot", "unknown number". */
#define TG_NONE UINT32_MAX

typedef struct tg_str {
  const char *ptr;
  size_t len;
} tg_str;

typedef struct tg_kv {
  tg_str key, value;
} tg_kv;

/* Closed set. Default: treat as TG_E_INTERNAL. */
typedef int32_t tg_status;
enum {
  TG_OK = 0,
  TG_E_INVALID = 1,     /* the caller's argument is wrong */
  TG_E_CONFIG = 2,      /* the configuration is wrong; tg_error.where says which member */
  TG_E_UNSUPPORTED = 3, /* this side does not know how */
  TG_E_UNAVAILABLE = 4, /* not now; try later */
  TG_E_TIMEOUT = 5,
  TG_E_CANCELLED = 6,
  TG_E_NOT_FOUND = 7,
  TG_E_LIMIT = 8, /* a bound was reached */
  TG_E_INTERNAL = 9
};

/* Lives on the caller's stack. The callee writes NUL-terminated text: what was expected, what was found, what to do. */
typedef struct tg_error {
  uint32_t size;
  tg_status code;
  char where[96]; /* JSON pointer into the plugin's configuration, or "" */
  char text[400];
} tg_error;

/* A sink of the caller for output of unknown length; may be written to several times. The caller copies at once. */
typedef struct tg_out {
  uint32_t size, reserved;
  void (*write)(struct tg_out *, tg_str); /* cannot fail; [the thread of the call that got it] */
} tg_out;

/* Asked by a [runner] whether it should end. */
typedef struct tg_stop {
  uint32_t size, reserved;
  bool (*requested)(const struct tg_stop *);           /* [any] */
  bool (*wait_ms)(const struct tg_stop *, uint32_t ms); /* [any] sleeps up to ms; true as soon as stop is wanted */
} tg_stop;

typedef struct tg_host tg_host;       /* the host as one component instance sees it; host.h */
typedef struct tg_request tg_request; /* one request in flight; valid during the [request] call that got it */

/* A tg_str of a literal or of a NUL-terminated string. */
static inline tg_str tg_cstr(const char *text) {
  tg_str s;
  s.ptr = text;
  s.len = 0;
  if (text)
    while (text[s.len]) ++s.len;
  return s;
}

#ifdef __cplusplus
}
#endif
#endif
