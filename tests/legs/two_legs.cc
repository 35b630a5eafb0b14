// two_legs: a plan of two legs, shaped by the request's header `x-plan`, a list of words:
//   with           the second leg starts together with the first (else after its answer)
//   discard        the first leg's response is discarded (else drained)
//   ignore, fail   what the first leg's failure means (else the plan is made anew)
//   edit           sets "stream" and "max_tokens" and drops "user" in the first leg's body, and sets a header
//   capture, maybe carries "kv" of the first answer into the second body as "kv_params"; maybe: if there is
//   one abort, late    cancel action POST /abort_request; late: not before the first item limit          300
//   ms for the first leg mirror         the first leg is relayed and the second discarded third          one
//   more leg, discarded, after the second
// The first leg goes to the first candidate, the others to the last. The second one is relayed.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <atomic>
#include <string>

#include <tidegate/plugin.hpp>

namespace {

class TwoLegs {
 public:
  static constexpr auto name = "two_legs";
  static constexpr auto summary = "a plan of two legs, as the tests ask for it";
  static constexpr uint32_t flags = TG_CONCURRENT;

  void pick(tg::Pick p) noexcept {
    const auto words = p.header("x-plan");
    auto has = [words](std::string_view word) { return words.find(word) != words.npos; };
    tg::Leg first = p.add(p.candidates().front());
    first.stage(TG_ROLE_PREFILL).cookie(1).on_failure(TG_FAILURE_ANEW);
    has("discard") ? first.discard() : first.drain();
    if (has("ignore")) first.on_failure(TG_FAILURE_IGNORE);
    if (has("fail")) first.on_failure(TG_FAILURE_FAIL);
    if (has("limit")) first.time_limit(std::chrono::milliseconds(300));
    if (has("edit")) {
      first.body(p.edits(3).set("stream", "false").set("max_tokens", "1").drop("user"));
      first.headers(p.edits(1).set("X-Leg", "prefill"));
    }
    const uint32_t when = has("late") ? TG_CANCEL_AFTER_FIRST_ITEM : TG_CANCEL_AT_ONCE;
    const tg_cancel abort{when, 0, tg::str("POST"), tg::str("/abort_request"), tg::str(R"({"rid":"r1"})")};
    if (has("abort") || has("late")) first.cancel(abort);
    tg::Leg second = p.add(p.candidates().back());
    second.stage(TG_ROLE_DECODE).relay().cookie(2).on_failure(TG_FAILURE_ANEW);
    if (has("mirror")) first.relay(), second.discard();
    if (has("third"))
      p.add(p.candidates().back()).discard().cookie(3), picked_.fetch_add(1, std::memory_order_relaxed);
    if (has("with")) second.with_previous();
    if (has("abort") || has("late")) second.cancel(abort);
    if (has("capture") || has("maybe")) {
      auto captures = p.captures(1);
      if (!captures.empty()) captures[0] = {1, has("capture") ? 1u : 0u, tg::str("kv"), tg::str("kv_params")};
      second.captures(captures);
    }
    picked_.fetch_add(2, std::memory_order_relaxed);
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
  std::atomic<uint64_t> picked_{0}, outcomes_[5] = {};  // by TG_OUTCOME_*
};

}  // namespace

TG_PLUGIN("two_legs", "0.1.0", tg::policy<TwoLegs>());
