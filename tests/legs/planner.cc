// planner: the plan that the request's header `x-plan` writes out: what to answer at each attempt, apart by
// `|` (the last one goes on), each a verdict or legs apart by `;`, each of words:
//   slip               a leg for a slot that nobody has: the fallback picks
//   wait, fail, shed   with ":MS" to ask again, or for the client
//   idle:SLOT          WAIT (an hour) while that worker has a request under way
//   there:SLOT         WAIT (an hour) while that worker is no candidate
//   SLOT               a leg for the worker of that slot (relayed, planned anew when it fails), with
//     drain, discard, with, ignore, stop (the plan fails), errors (relayed as they come), late (the cancel
//     action POST /abort_request, not before the first item), path=/x, NAME<LEG (captures NAME of that leg's
//     answer if there is one)
//   transform          of the plan: upper-cases the relayed body, and appends what the first leg answered
// `x-why` is its reason. Built twice: `planner_pd` says that it needs prefill and decode workers.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <algorithm>
#include <atomic>
#include <charconv>
#include <string>

#include <tidegate/plugin.hpp>

namespace {

std::string_view cut(std::string_view& text, char at) {
  const auto end = std::min(text.find(at), text.size());
  const std::string_view first = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return first;
}

uint32_t number(std::string_view text) {
  uint32_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

class Planner {
 public:
  static constexpr auto name = NAME;
  static constexpr auto summary = "plans as the tests write them";
  static constexpr uint32_t flags = TG_CONCURRENT;

  uint32_t roles() const { return ROLES; }

  void pick(tg::Pick p) noexcept {
    std::string_view plans = p.header("x-plan"), plan = cut(plans, '|');
    for (uint32_t i = 0; i < p.attempt() && !plans.empty(); ++i) plan = cut(plans, '|');
    const std::string_view verdict = plan.substr(0, plan.find(':'));
    const std::chrono::milliseconds after(
        verdict.size() < plan.size() ? number(plan.substr(verdict.size() + 1)) : 0);
    if (verdict == "slip") return (void)p.add(4000);
    if (verdict == "wait") return waits_.fetch_add(1), p.wait(after);
    if (verdict == "shed") return p.shed(after);
    if (verdict == "fail") return p.fail();
    if (verdict == "idle" || verdict == "there") {
      const auto slot = static_cast<uint32_t>(after.count());
      const bool there =
          std::find(p.candidates().begin(), p.candidates().end(), slot) != p.candidates().end();
      const bool idle = there && tg_live_get(&tg_live_at(p.raw().snapshot, slot)->inflight) == 0;
      if (verdict == "idle" ? !idle : !there) return waits_.fetch_add(1), p.wait(std::chrono::hours(1));
      return (void)p.select(slot).cookie(1), (void)picked_.fetch_add(1);
    }
    if (const auto why = p.header("x-why"); !why.empty()) p.reason(unescaped(p, why));
    for (uint32_t i = 0; !plan.empty(); ++i) {
      if (std::string_view leg = cut(plan, ';'); leg == "transform")
        p.transform();
      else
        add_leg(p, leg, i);
    }
  }

  void complete(const tg_completion& c) noexcept {
    if (c.cookie == c.leg + 1 && c.outcome < 5) outcomes_[c.outcome].fetch_add(1);
  }

  void transform(tg::Transform t) noexcept {
    std::string text(t.data());
    for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    if (t.last()) text.append(t.earlier(0));
    t.write(text);
  }

  void describe(tg::Out out) const {
    std::string text = "{\"waits\":" + std::to_string(waits_.load()) +
                       ",\"legs\":" + std::to_string(picked_.load()) + ",\"outcomes\":[";
    for (const auto& n : outcomes_) text += std::to_string(n.load()) + (&n == &outcomes_[4] ? "]}" : ",");
    out.write(text);
  }

 private:
  // A header can't bring line ends: "\n" stands for CR LF.
  static std::string_view unescaped(const tg::Pick& p, std::string_view text) noexcept {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i)
      text.substr(i, 2) == "\\n" ? (out += "\r\n", ++i) : (out += text[i], i);
    return p.copy(out);
  }

  void add_leg(const tg::Pick& p, std::string_view words, uint32_t index) noexcept {
    tg::Leg leg = p.add(number(cut(words, ' ')));
    leg.relay().on_failure(TG_FAILURE_ANEW).cookie(index + 1);
    picked_.fetch_add(1);
    auto captures = p.captures(4);
    std::size_t count = 0;
    while (!words.empty()) {
      const std::string_view word = cut(words, ' ');
      if (word == "drain") leg.drain();
      if (word == "discard") leg.discard();
      if (word == "with") leg.with_previous();
      if (word == "ignore") leg.on_failure(TG_FAILURE_IGNORE);
      if (word == "stop") leg.on_failure(TG_FAILURE_FAIL);
      if (word == "errors") leg.relay_errors();
      if (word == "late")
        leg.cancel(
            {TG_CANCEL_AFTER_FIRST_ITEM, 0, tg::str("POST"), tg::str("/abort_request"), tg::str("{}")});
      if (word.starts_with("path=")) leg.path(p.copy(word.substr(5)));
      if (const auto from = word.find('<'); from != word.npos && count < captures.size())
        captures[count++] = {
            index - number(word.substr(from + 1)), 0, tg::str(p.copy(word.substr(0, from))), {}};
    }
    leg.captures(captures.first(count));
  }

  std::atomic<uint64_t> waits_{0}, picked_{0}, outcomes_[5] = {};  // by TG_OUTCOME_*
};

}  // namespace

TG_PLUGIN(NAME, "0.1.0", tg::policy<Planner>());
