/* A discovery source that ignores its stop token. Configured with {"release": ADDRESS} of an int, run() returns
 * when that is not 0; with {"linger_ms": N} that long after its stop; without either, never. Lists the worker
 * {"url": ...} if it has one, and is synced at once. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate/plugin.h>
#include <time.h>

typedef struct stubborn {
  tg_discovery_sink* sink;
  int* release;
  int* destroyed;
  int64_t linger_ms;
  char url[128];
} stubborn;

static tg_status create(const tg_host* host, tg_str json, tg_discovery_sink* sink, void** self, tg_error* error) {
  const tg_host_config* config = host->get_interface(host, TG_HOST_CONFIG);
  stubborn* s = calloc(1, sizeof *s);
  tg_str url = config->string(host, tg_cstr("/url"), tg_cstr(""));
  (void)json, (void)error;
  if (url.len < sizeof s->url) memcpy(s->url, url.ptr, url.len);
  s->sink = sink;
  s->release = (int*)(intptr_t)config->integer(host, tg_cstr("/release"), 0);
  s->destroyed = (int*)(intptr_t)config->integer(host, tg_cstr("/destroyed"), 0);
  s->linger_ms = config->integer(host, tg_cstr("/linger_ms"), -1);
  *self = s;
  return TG_OK;
}
static void destroy(void* self) {
  stubborn* s = self;
  if (s->destroyed) __atomic_store_n(s->destroyed, 1, __ATOMIC_RELAXED);
  free(s);
}
static tg_status run(void* self, const tg_stop* stop, tg_error* error) {
  const struct timespec a_moment = {0, 1000000};
  stubborn* s = self;
  (void)error;
  if (s->url[0]) {
    tg_worker_desc w;
    memset(&w, 0, sizeof w);
    w.size = sizeof w;
    w.id = w.url = tg_cstr(s->url);
    s->sink->publish(s->sink, &w, 1, sizeof w, NULL);
  }
  s->sink->synced(s->sink);
  if (s->linger_ms >= 0) {
    int64_t left = s->linger_ms;
    while (!stop->requested(stop)) nanosleep(&a_moment, NULL);
    while (left-- > 0) nanosleep(&a_moment, NULL);
    return TG_OK;
  }
  while (!s->release || !__atomic_load_n(s->release, __ATOMIC_ACQUIRE)) nanosleep(&a_moment, NULL);
  return TG_OK;
}

static const tg_discovery discovery = {
    .size = sizeof discovery, .create = create, .destroy = destroy, .run = run};
static const tg_component component = {.size = sizeof component,
                                       .interface_id = TG_DISCOVERY_INTERFACE,
                                       .name = "stubborn",
                                       .config_schema = "{\"type\":\"object\"}",
                                       .functions = &discovery};
static const tg_plugin plugin = {.size = sizeof plugin,
                                 .abi_major = 1,
                                 .name = "stubborn",
                                 .components = &component,
                                 .component_count = 1,
                                 .component_stride = sizeof component};
const tg_plugin* tg_plugin_v1(void) { return &plugin; }
