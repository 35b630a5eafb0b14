/* A policy that hangs on the control thread: in the place that $TIDEGATE_TEST_GATE_IN names (constructor, entry, init,
 * post, timer) it waits until somebody opens the FIFO $TIDEGATE_TEST_GATE for writing, once. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate/plugin.h>
#include <unistd.h>

static void wait_in(const char* place) {
  static int waited;
  const char* wanted = getenv("TIDEGATE_TEST_GATE_IN");
  if (waited || !wanted || strcmp(wanted, place) != 0) return;
  waited = 1;
  close(open(getenv("TIDEGATE_TEST_GATE"), O_RDONLY));
}
__attribute__((constructor)) static void constructor(void) { wait_in("constructor"); }
static void posted(void* argument) { wait_in(argument); }

static tg_status init(const tg_host* host, tg_error* error) {
  (void)host, (void)error;
  wait_in("init");
  return TG_OK;
}
static tg_status create(const tg_host* host, tg_str config, tg_policy_traits* traits, void** self,
                        tg_error* error) {
  static char post[] = "post", timer[] = "timer";
  const tg_host_control* control = host->get_interface(host, TG_HOST_CONTROL);
  (void)config, (void)traits, (void)error;
  control->post(host, posted, post);
  control->timer(host, 1, 0, posted, timer);
  *self = NULL;
  return TG_OK;
}
static void destroy(void* self) { (void)self; }
static tg_status pick(void* self, const void* table, const tg_pick_args* args, tg_plan* plan) {
  (void)self, (void)table;
  tg_plan_select(plan, args->candidates[0]);
  return TG_OK;
}

static const tg_policy policy = {
    .size = sizeof policy, .flags = TG_CONCURRENT, .create = create, .destroy = destroy, .pick = pick};
static const tg_component component = {.size = sizeof component,
                                       .interface_id = TG_POLICY_INTERFACE,
                                       .name = "slow_start",
                                       .functions = &policy};
static const tg_plugin plugin = {.size = sizeof plugin,
                                 .abi_major = 1,
                                 .name = "slow_start",
                                 .components = &component,
                                 .component_count = 1,
                                 .component_stride = sizeof component,
                                 .init = init};
const tg_plugin* tg_plugin_v1(void) {
  wait_in("entry");
  return &plugin;
}
