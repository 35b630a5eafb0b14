// The worker with the fewest prompt tokens in flight.
#include <tidegate/plugin.hpp>

class LeastTokens {
 public:
  static constexpr auto name = "least_tokens";
  static constexpr auto summary = "the worker with the fewest prompt tokens in flight";
  static constexpr uint32_t flags = TG_CONCURRENT;
  void pick(tg::Pick p) noexcept {
    uint32_t best = p.candidates()[0];
    for (uint32_t slot : p.candidates())
      if (p.live(slot).inflight_tokens() < p.live(best).inflight_tokens()) best = slot;
    p.select(best);
  }
};
TG_PLUGIN("example-least-tokens", "0.1.0", tg::policy<LeastTokens>());
