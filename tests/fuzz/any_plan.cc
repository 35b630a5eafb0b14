// any_plan: a plan of one to four legs, as the request's header `x-plan` has it: one word of three
// hexadecimal
//   digits a leg, "sre": s = start (bit 0: after the previous) and cancel action (bit 1: has one, bit 2: not
//   before the first item), r = response (0 relay, 1 drain, 2 discard), e = what its failure means.
//   One leg is relayed whatever the words say: the first that wants it, else the last. Letters behind the
//   words: w waits every other time, r gives each attempt another shape, s slips, t transforms the answer.
// The i-th leg goes to the i-th candidate, round the list.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <algorithm>
#include <atomic>
#include <string>

#include <tidegate/plugin.hpp>

namespace {

class AnyPlan {
 public:
  static constexpr auto name = "any_plan";
  static constexpr auto summary = "plans of any shape, for the fuzzer";
  static constexpr uint32_t flags = TG_CONCURRENT;

  void pick(tg::Pick p) noexcept {
    const auto header = p.header("x-plan");
    const auto words = header.substr(0, header.find_first_of("wrst"));
    auto asks = [&](char letter) { return header.find(letter, words.size()) != header.npos; };
    if (asks('w') && calls_.fetch_add(1, std::memory_order_relaxed) % 2 == 0) return p.wait();
    if (asks('s')) {
      picked_.fetch_add(2, std::memory_order_relaxed);  // as many as the host's count of slips stands for
      p.select(4000);
      return;
    }
    if (asks('t')) p.transform();
    const size_t turn = asks('r') ? p.attempt() : 0;
    auto digit = [&](size_t leg, size_t i) {
      const size_t at = (leg + turn) % 4 * 4 + i;
      return at < words.size() ? static_cast<unsigned>(words[at]) & 7u : 0u;
    };
    const size_t count = (std::min<size_t>(4, words.size() / 4 + 1) + turn - 1) % 4 + 1;
    size_t relayed = count - 1;
    for (size_t i = count; i-- > 0;)
      if (digit(i, 1) % 3 == 0) relayed = i;
    for (size_t i = 0; i < count; ++i) {
      tg::Leg leg = p.add(p.candidates()[i % p.candidates().size()]);
      const unsigned start = digit(i, 0);
      leg.cookie(i + 1).on_failure(digit(i, 2) % 3);
      if ((start & 1) == 0) leg.with_previous();
      if (start & 2)
        leg.cancel({start & 4 ? TG_CANCEL_AFTER_FIRST_ITEM : TG_CANCEL_AT_ONCE, 0, tg::str("POST"),
                    tg::str("/abort_request"), tg::str(R"({"rid":"r1"})")});
      if (i == relayed)
        leg.relay().relay_errors(start & 4);
      else
        digit(i, 1) % 3 == 1 ? leg.drain() : leg.discard();
    }
    picked_.fetch_add(count, std::memory_order_relaxed);
  }

  void transform(tg::Transform t) noexcept {
    if (t.is_event()) return t.write(t.data());
    t.write("[");
    t.write(t.data());
    t.write("]");
  }

  void complete(const tg_completion& c) noexcept {
    if (c.cookie == c.leg + 1 && c.outcome < 5) outcomes_[c.outcome].fetch_add(1, std::memory_order_relaxed);
  }

  void describe(tg::Out out) const {
    std::string text = "{\"legs\":" + std::to_string(picked_.load()) + ",\"outcomes\":[";
    for (const auto& n : outcomes_) text += std::to_string(n.load()) + (&n == &outcomes_[4] ? "]}" : ",");
    out.write(text);
  }

 private:
  std::atomic<uint64_t> calls_{0}, picked_{0}, outcomes_[5] = {};  // by TG_OUTCOME_*
};

}  // namespace

TG_PLUGIN("any_plan", "0.1.0", tg::policy<AnyPlan>());
