// random: any candidate, each as likely as the others. The measure that other policies are held against.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

class Random {
 public:
  static constexpr auto name = "random";
  static constexpr auto summary = "any candidate, each as likely as the others";
  static constexpr uint32_t flags = TG_CONCURRENT;

  explicit Random(const tg::Host& host) : host_(host) {}

  void pick(tg::Pick p) noexcept {
    auto candidates = p.candidates();
    if (candidates.empty()) return p.wait("no candidates");
    if (p.explain()) p.reason(p.copy(tg::Text("drawn from ", candidates.size())));
    p.select(candidates[host_.random_below(static_cast<uint32_t>(candidates.size()))]);
  }

 private:
  tg::Host host_;
};

}  // namespace

TG_PLUGIN("random", "0.1.0", tg::policy<Random>());
