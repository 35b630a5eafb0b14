// weighted: the candidate with the highest weighted sum of scores.
//
// Each scorer says how well every candidate suits the request, from 0 to 1. Ties are drawn at random: an idle
// fleet would otherwise send every burst to its first worker. A scorer that has nothing to say is left out;
// when none has, or the request's memory does not hold the scores (about 8,000 candidates), the draw is over
// all candidates.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

class Weighted {
 public:
  static constexpr auto name = "weighted";
  static constexpr auto summary = "the candidate with the highest weighted sum of scores";
  static constexpr uint32_t flags = TG_CONCURRENT;
  static constexpr auto schema = R"({
    "type": "object",
    "additionalProperties": false,
    "required": ["scorers"],
    "properties": {
      "scorers": {
        "type": "array",
        "minItems": 1,
        "description": "who scores, and how much it counts",
        "items": {
          "type": "object",
          "additionalProperties": false,
          "required": ["plugin"],
          "properties": {
            "plugin": {"type": "string", "description": "a component of tg.scorer/1"},
            "weight": {"type": "number", "minimum": 0, "default": 1, "description": "what its score is multiplied by"},
            "config": {"type": "object", "default": {}, "description": "the scorer's own configuration"}
          }
        }
      }
    }
  })";

  Weighted(const tg::Host& host, const tg::Config& config) : host_(host), scorers_(config, "/scorers") {}

  void pick(tg::Pick p) noexcept {
    auto candidates = p.candidates();
    if (candidates.empty()) return p.wait("no candidates");
    auto sums = scorers_.sums(p);
    const size_t chosen = sums.empty() ? any_of(candidates.size()) : best_of(sums);
    if (p.explain() && !sums.empty())
      p.reason(p.copy(tg::Text("the highest sum of scores of ", candidates.size(), ": ", sums[chosen])));
    p.select(candidates[chosen]);
  }

 private:
  size_t any_of(size_t count) const noexcept { return host_.random_below(static_cast<uint32_t>(count)); }

  // Candidates that are alike have been added up alike, so their sums are equal to the last bit.
  size_t best_of(std::span<const float> sums) const noexcept {
    float best = sums[0];
    size_t ties = 0;
    for (float sum : sums) {
      if (sum > best) best = sum, ties = 0;
      ties += sum == best;
    }
    size_t nth = ties > 1 ? any_of(ties) : 0;
    for (size_t i = 0;; ++i)
      if (sums[i] == best && nth-- == 0) return i;
  }

  tg::Host host_;
  tg::Scorers scorers_;
};

}  // namespace

TG_PLUGIN("weighted", "0.1.0", tg::policy<Weighted>());
