// queue: scores workers by how few requests they have in flight.
//
// A score is the share that is free of what the busiest candidate has: it says how much better a worker is,
// not only that it is better, so that a difference of one among hundreds does not outweigh other scorers.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <algorithm>
#include <tidegate/plugin.hpp>

namespace {

class Queue {
 public:
  static constexpr auto name = "queue";
  static constexpr auto summary = "fewest requests in flight";
  static constexpr uint32_t flags = TG_CONCURRENT;

  void score(tg::Request r, std::span<float> out) noexcept {
    auto candidates = r.candidates();
    float most = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<float>(r.live(candidates[i]).inflight());
      most = std::max(most, out[i]);
    }
    for (float& score : out) score = most > 0 ? 1 - score / most : 1;
  }
};

}  // namespace

TG_PLUGIN("queue", "0.1.0", tg::scorer<Queue>());
