// tidegate/testing/traffic.hpp - a day of traffic in virtual time: what a policy does to the time to first
// token.
//
// What      simulate(policy, day): requests arrive at random, each worker prefills one at a time in order and
// then decodes
//           beside the others; the fake clock moves, load is counted, learn() runs every `learn_every`.
// Threads   One.
// Ownership Nothing is kept.
// Errors    As PolicyUnderTest. A pick that selects nothing counts as refused.
#pragma once
#include <cmath>
#include <queue>

#include "../host.hpp"
#include "policy_under_test.hpp"

namespace tg::testing {

struct Day {
  uint32_t requests = 10'000;
  double per_second = 40;                        // arrivals, exponential gaps
  uint32_t min_prompt = 100, max_prompt = 4000;  // tokens; most are short: uniform to the power 3
  uint32_t output_tokens = 200;
  double prefill_per_second = 8000, decode_per_second = 50;
  std::chrono::milliseconds learn_every{100};
  uint64_t seed = 1;
};

struct DayResult {
  double mean_ttft_ms = 0, p50_ttft_ms = 0, p99_ttft_ms = 0;
  double spread = 0;  // busiest worker's requests / mean
  uint32_t refused = 0;
};

namespace traffic {
struct Ending {
  uint64_t at_ns;
  size_t index;
  bool operator>(const Ending& other) const { return at_ns > other.at_ns; }
};
inline DayResult summarize(std::vector<double>& ttft, const std::map<uint32_t, uint32_t>& served,
                           uint32_t refused) {
  DayResult r;
  r.refused = refused;
  if (ttft.empty()) return r;
  std::sort(ttft.begin(), ttft.end());
  for (double t : ttft) r.mean_ttft_ms += t / static_cast<double>(ttft.size());
  r.p50_ttft_ms = ttft[ttft.size() / 2], r.p99_ttft_ms = ttft[ttft.size() * 99 / 100];
  uint32_t most = 0;
  for (auto& [slot, n] : served) most = std::max(most, n);
  r.spread = most * static_cast<double>(served.size()) / static_cast<double>(ttft.size());
  return r;
}
}  // namespace traffic

inline DayResult simulate(PolicyUnderTest& policy, const Day& day = {}) {
  FakeHost dice("{}", day.seed);
  Host random(dice.get());
  auto uniform = [&] { return (static_cast<double>(random.random() >> 11) + 0.5) / 9007199254740992.0; };
  auto ns = [](double seconds) { return static_cast<uint64_t>(seconds * 1e9); };
  uint64_t now = policy.host().now_ns(), learn_at = now;
  auto advance_to = [&](uint64_t t) { policy.host().advance(std::chrono::nanoseconds(t - now)), now = t; };

  std::map<uint32_t, uint64_t> free_at;  // by slot: when its prefill queue is empty
  std::map<uint32_t, uint32_t> served;
  std::vector<Picked> picks(day.requests);
  std::vector<double> ttft;
  std::priority_queue<traffic::Ending, std::vector<traffic::Ending>, std::greater<>> endings;
  uint32_t refused = 0;
  uint64_t arrival = now;
  for (size_t i = 0; i < day.requests; ++i) {
    arrival += ns(-std::log(uniform()) / day.per_second);
    for (; !endings.empty() && endings.top().at_ns <= arrival; endings.pop()) {
      advance_to(endings.top().at_ns);
      policy.finish(picks[endings.top().index]);
      picks[endings.top().index] = {};
    }
    advance_to(arrival);
    policy.host().run_posted();
    if (now >= learn_at)
      policy.learn(), learn_at = now + ns(static_cast<double>(day.learn_every.count()) / 1e3);
    double u = uniform();
    RequestSpec spec;
    spec.prompt_tokens =
        day.min_prompt + static_cast<uint32_t>(u * u * u * (day.max_prompt - day.min_prompt));
    double prompt = spec.prompt_tokens;
    picks[i] = policy.pick(std::move(spec));
    if (!picks[i].selected()) {
      ++refused;
      continue;
    }
    uint64_t& free = free_at[picks[i].slot()];
    free = std::max(free, now) + ns(prompt / day.prefill_per_second);
    ++served[picks[i].slot()];
    ttft.push_back(static_cast<double>(free - now) / 1e6);
    endings.push({free + ns(day.output_tokens / day.decode_per_second), i});
  }
  for (; !endings.empty(); endings.pop()) policy.finish(picks[endings.top().index]);
  return traffic::summarize(ttft, served, refused);
}

}  // namespace tg::testing
