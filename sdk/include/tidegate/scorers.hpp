// tidegate/scorers.hpp - tg::Scorers: the scorers of a policy, added up.
//
// What      Scorers(config, "/scorers") makes a child of each {plugin, weight, config} in that list; sums()
// asks
//           them about a request and adds up weight times score for each candidate.
// Threads   Constructor: [control], inside the policy's constructor. sums(): [request], hot.
// Ownership Sums lie in the request's memory and live as long as it.
// Errors    tg::Error for an unknown scorer or a refused configuration. A scorer that has nothing to say is
//           left out of the sums. No sums at all: the request's memory is used up (about 8,000 candidates).
#pragma once
#include <vector>

#include "config.hpp"
#include "request.hpp"

namespace tg {

class Scorers {
 public:
  Scorers(const Config& config, std::string_view path) {
    for (uint32_t i = 0; i < config.count(path); ++i) {
      std::string at = std::string(path) + "/" + std::to_string(i);
      all_.push_back({config.scorer(at), static_cast<float>(config.number(at + "/weight", 1))});
    }
  }
  size_t size() const noexcept { return all_.size(); }

  std::span<const float> sums(const Request& request) const noexcept {
    const tg_pick_args& args = request.raw();
    std::span<float> sums(request.allocate<float>(args.candidate_count), args.candidate_count);
    std::span<float> scores(request.allocate<float>(args.candidate_count), args.candidate_count);
    if (!sums.data() || !scores.data()) return {};
    for (const One& one : all_) {
      if (!one.scorer.score(args, scores)) continue;
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += one.weight * scores[i];
    }
    return sums;
  }

 private:
  struct One {
    Scorer scorer;
    float weight;
  };
  std::vector<One> all_;
};

}  // namespace tg
