// bad_scorer: gives the most loaded candidate a score beyond all bounds.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

struct BadScorer {
  static constexpr auto name = "bad_scorer";
  static constexpr auto summary = "scores that are no scores";
  static constexpr uint32_t flags = TG_CONCURRENT;
  float score(tg::Request r, uint32_t slot) noexcept {
    return static_cast<float>(2 * r.live(slot).inflight());
  }
};

}  // namespace

TG_PLUGIN("bad_scorer", "0.1.0", tg::scorer<BadScorer>());
