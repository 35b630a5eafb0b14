// tidegate/plugin.hpp - the C++ layer over the plugin ABI, whole. Include this; read policy.hpp first.
//
// What      A policy is a class of about 15 lines, a plugin one line more:
//
//             #include <tidegate/plugin.hpp>
//             class LeastTokens {
//              public:
//               static constexpr auto name = "least_tokens";
//               static constexpr auto summary = "fewest prompt tokens in flight";
//               static constexpr uint32_t flags = TG_CONCURRENT;
//               void pick(tg::Pick p) noexcept {
//                 uint32_t best = p.candidates()[0];
//                 for (uint32_t slot : p.candidates())
//                   if (p.live(slot).inflight_tokens() < p.live(best).inflight_tokens()) best = slot;
//                 p.select(best);
//               }
//             };
//             TG_PLUGIN("example-least-tokens", "0.1.0", tg::policy<LeastTokens>());
//
// Threads   As plugin.h says; policy.hpp, scorer.hpp and discovery.hpp name them for each function.
// Ownership Nothing of this layer crosses the ABI; it is compiled into the plugin and hidden there. Build
//           with tidegate_add_plugin(), or with the flags of `pkg-config --variable=plugin_cxxflags tidegate`.
// Errors    Exceptions stop at the trampolines. A class that lacks something does not compile, and the text
//           says what.
#pragma once
#include "discovery.hpp"
#include "http.hpp"
#include "plugin.h"
#include "policy.hpp"
#include "scorer.hpp"
#include "scorers.hpp"

// The lowest minor of the ABI that the plugin can live with.
#ifndef TG_TARGET_MINOR
#  define TG_TARGET_MINOR 0
#endif
#ifndef TG_PLUGIN_VENDOR
#  define TG_PLUGIN_VENDOR ""
#endif
#ifndef TG_PLUGIN_LICENSE  // an SPDX expression
#  define TG_PLUGIN_LICENSE ""
#endif

#define TG_DETAIL_TEXT(x) #x
#define TG_DETAIL_NUMBER(x) TG_DETAIL_TEXT(x)

// The one exported symbol, and a note that can be read from the file without loading it:
//   readelf -p .tg_plugin FILE    abi=1.0, name=..., version=...
#define TG_PLUGIN(plugin_name, plugin_version, ...)                                                          \
  namespace {                                                                                                \
  constexpr tg_component tg_plugin_components[] = {__VA_ARGS__};                                             \
  constexpr tg_plugin tg_plugin_descriptor = {sizeof(tg_plugin),                                             \
                                              TG_ABI_MAJOR,                                                  \
                                              TG_TARGET_MINOR,                                               \
                                              plugin_name,                                                   \
                                              plugin_version,                                                \
                                              TG_PLUGIN_VENDOR,                                              \
                                              TG_PLUGIN_LICENSE,                                             \
                                              tg_plugin_components,                                          \
                                              sizeof tg_plugin_components / sizeof tg_plugin_components[0],  \
                                              sizeof(tg_component),                                          \
                                              nullptr};                                                      \
  [[gnu::section(".tg_plugin"), gnu::used]] constexpr char tg_plugin_note[] = "abi=" TG_DETAIL_NUMBER(       \
      TG_ABI_MAJOR) "." TG_DETAIL_NUMBER(TG_TARGET_MINOR) "\0name=" plugin_name "\0version=" plugin_version; \
  }                                                                                                          \
  extern "C" TG_EXPORT const tg_plugin* tg_plugin_v1(void) { return &tg_plugin_descriptor; }                 \
  static_assert(true, "a semicolon after TG_PLUGIN(...)")
