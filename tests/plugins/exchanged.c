/* While it is being loaded, another file is put in its place: $TIDEGATE_TEST_NEW is renamed to $TIDEGATE_TEST_OLD. */
#include <stdio.h>
#include <stdlib.h>
#include <tidegate/plugin.h>

__attribute__((constructor)) static void exchange(void) {
  const char* from = getenv("TIDEGATE_TEST_NEW");
  if (from && rename(from, getenv("TIDEGATE_TEST_OLD")) != 0) abort();
}

const tg_plugin* tg_plugin_v1(void) { abort(); }
