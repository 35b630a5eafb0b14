// power_of_two: of two candidates drawn at random, the one with fewer requests in flight; then with fewer
// prompt tokens.
//
// The counts are this gateway's own, kept at selection: exact, never stale, so that a burst does not herd
// onto the worker that looked idle a moment ago. Two draws are enough: the longest queue grows with log log n
// instead of log n / log log n.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

class PowerOfTwo {
 public:
  static constexpr auto name = "power_of_two";
  static constexpr auto summary = "the less loaded of two candidates drawn at random";
  static constexpr uint32_t flags = TG_CONCURRENT;

  explicit PowerOfTwo(const tg::Host& host) : host_(host) {}

  void pick(tg::Pick p) noexcept {
    auto candidates = p.candidates();
    auto n = static_cast<uint32_t>(candidates.size());
    if (n == 0) return p.wait("no candidates");
    if (n == 1) {
      if (p.explain()) p.reason("the only candidate");
      return void(p.select(candidates[0]));
    }
    uint64_t random = host_.random();
    uint32_t first = below(n, random >> 32);
    uint32_t second = below(n - 1, random & UINT32_MAX);
    if (second >= first) ++second;  // distinct, and still uniform
    uint32_t a = candidates[first], b = candidates[second], chosen = lighter(p, a, b);
    if (p.explain()) explain(p, chosen, chosen == a ? b : a);
    p.select(chosen);
  }

 private:
  static uint32_t below(uint32_t n, uint64_t bits) noexcept {
    return static_cast<uint32_t>((bits * n) >> 32);
  }

  static uint32_t lighter(const tg::Pick& p, uint32_t a, uint32_t b) noexcept {
    tg::Live la = p.live(a), lb = p.live(b);
    uint32_t requests_a = la.inflight(), requests_b = lb.inflight();
    if (requests_a != requests_b) return requests_a < requests_b ? a : b;
    return lb.inflight_tokens() < la.inflight_tokens() ? b : a;  // a tie: a, which was drawn at random
  }

  static void explain(const tg::Pick& p, uint32_t chosen, uint32_t other) noexcept {
    p.reason(p.copy(tg::Text("the less loaded of two drawn: ", p.live(chosen).inflight(),
                             " requests in flight, the other ", p.live(other).inflight())));
  }

  tg::Host host_;
};

}  // namespace

TG_PLUGIN("power_of_two", "0.1.0", tg::policy<PowerOfTwo>());
