// round_robin: one candidate after the other.
//
// Each list of candidates has a turn of its own, found by the list's first slot. One turn for all would walk
// in step with traffic that alternates between two models and send each model to every second worker only.
// Lists that share a turn by chance only share its pace. Turns start anywhere, so that many gateways do not
// all begin with the first worker, and are not reset when membership changes, so that a fleet in motion does
// not favour its first worker.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

class RoundRobin {
 public:
  static constexpr auto name = "round_robin";
  static constexpr auto summary = "one candidate after the other";
  static constexpr uint32_t flags = TG_CONCURRENT;

  explicit RoundRobin(const tg::Host& host) {
    for (Turn& turn : turns_) turn.next = static_cast<uint32_t>(host.random() >> 32);
  }

  void pick(tg::Pick p) noexcept {
    auto candidates = p.candidates();
    if (candidates.empty()) return p.wait("no candidates");
    // Relaxed: each pick needs a number of its own and orders nothing else by it.
    uint32_t turn = turns_[candidates[0] % turn_count].next.fetch_add(1, std::memory_order_relaxed);
    if (p.explain()) p.reason(p.copy(tg::Text("the next in turn of ", candidates.size())));
    p.select(candidates[turn % static_cast<uint32_t>(candidates.size())]);
  }

 private:
  static constexpr size_t turn_count = 64;
  struct alignas(64) Turn {  // a cache line each: lists of different models do not slow each other down
    std::atomic<uint32_t> next{0};
  };
  Turn turns_[turn_count];
};

}  // namespace

TG_PLUGIN("round_robin", "0.1.0", tg::policy<RoundRobin>());
