/* A discovery source: publishes two workers, updates one, removes the other, is refused a bad one, then fails
 * until the third run, which waits for its stop token. */
#include <stdlib.h>
#include <string.h>
#include <tidegate/plugin.h>

typedef struct source {
  tg_discovery_sink* sink;
  int runs;
} source;

static tg_status create(const tg_host* host, tg_str config, tg_discovery_sink* sink, void** self,
                        tg_error* error) {
  source* s = calloc(1, sizeof *s);
  (void)host, (void)config, (void)error;
  s->sink = sink;
  *self = s;
  return TG_OK;
}
static void destroy(void* self) { free(self); }
static tg_status run(void* self, const tg_stop* stop, tg_error* error) {
  source* s = self;
  tg_str models[1];
  tg_kv label = {tg_cstr("gpu"), tg_cstr("h100")};
  tg_worker_desc w[2];
  models[0] = tg_cstr("llama");
  memset(w, 0, sizeof w);
  w[0].size = w[1].size = sizeof *w;
  w[0].id = tg_cstr("a");
  w[0].url = tg_cstr("http://10.0.0.1:8000/");
  w[0].models = models;
  w[0].model_count = 1;
  w[0].labels = &label;
  w[0].label_count = 1;
  w[1].id = tg_cstr("b");
  w[1].url = tg_cstr("http://[fd00::1]:8443");
  w[1].role = TG_ROLE_DECODE;
  switch (s->runs++) {
    case 0:
      s->sink->publish(s->sink, w, 2, sizeof *w, NULL);
      s->sink->synced(s->sink);
      w[0].draining = 1;
      s->sink->upsert(s->sink, &w[0], NULL);
      w[1].url = tg_cstr("ftp://10.0.0.1");
      if (s->sink->upsert(s->sink, &w[1], error) != TG_E_INVALID) abort();
      s->sink->remove(s->sink, tg_cstr("b"), tg_cstr("gone"), NULL);
      return TG_E_UNAVAILABLE; /* the text is the sink's */
    case 1: strcpy(error->text, "lost the watch"); return TG_E_UNAVAILABLE;
    default:
      while (!stop->wait_ms(stop, 10000)) {
      }
      if (s->sink->upsert(s->sink, &w[0], NULL) != TG_E_CANCELLED) abort();
      return TG_E_CANCELLED;
  }
}

static const tg_discovery discovery = {
    .size = sizeof discovery, .create = create, .destroy = destroy, .run = run};
static const tg_component component = {.size = sizeof component,
                                       .interface_id = TG_DISCOVERY_INTERFACE,
                                       .name = "source",
                                       .functions = &discovery};
static const tg_plugin plugin = {.size = sizeof plugin,
                                 .abi_major = 1,
                                 .name = "source",
                                 .components = &component,
                                 .component_count = 1,
                                 .component_stride = sizeof component};
const tg_plugin* tg_plugin_v1(void) { return &plugin; }
