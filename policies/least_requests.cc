// least_requests: the candidate with the fewest requests in flight for its weight.
//
// Looks at every candidate, so it suits fleets of tens, not thousands; power_of_two is nearly as even and
// does not scan. Ties are drawn at random by weight: an idle fleet would otherwise send every burst to its
// first worker.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

class LeastRequests {
 public:
  static constexpr auto name = "least_requests";
  static constexpr auto summary = "the candidate with the fewest requests in flight for its weight";
  static constexpr uint32_t flags = TG_CONCURRENT;

  using Table = std::vector<uint32_t>;  // weight by slot

  explicit LeastRequests(const tg::Host& host) : host_(host) {}

  Table build(tg::Snapshot snapshot) {
    Table weights(snapshot.slot_capacity(), 1);
    for (uint32_t i = 0; i < snapshot.count(); ++i) {
      const tg_worker_info& worker = snapshot.worker(i);
      weights[worker.slot] = worker.weight_milli ? worker.weight_milli : 1;
    }
    return weights;
  }

  void pick(tg::Pick p, const Table& weights) noexcept {
    auto candidates = p.candidates();
    if (candidates.empty()) return p.wait("no candidates");
    uint64_t random = host_.random();
    uint32_t best = TG_NONE;
    uint64_t best_requests = 0, tied_weight = 0;  // of all that tie with the best
    uint64_t unit = 1;                            // weight of the first of them
    for (uint32_t slot : candidates) {
      uint64_t requests = p.live(slot).inflight(), weight = weights[slot];
      // requests / weight compared without dividing: both are below 2^32
      uint64_t mine = requests * unit, least = best_requests * weight;
      if (best == TG_NONE || mine < least) {
        best = slot, best_requests = requests, tied_weight = unit = weight;
      } else if (mine == least) {
        tied_weight += weight;
        random = random * 6364136223846793005u + 1442695040888963407u;  // the next number for each tie
        if (((random >> 32) * tied_weight) >> 32 < weight) best = slot;
      }
    }
    if (p.explain())
      p.reason(p.copy(
          tg::Text("the fewest requests in flight of ", candidates.size(), ": ", p.live(best).inflight())));
    p.select(best);
  }

 private:
  tg::Host host_;
};

}  // namespace

TG_PLUGIN("least_requests", "0.1.0", tg::policy<LeastRequests>());
