// tidegate/pick.hpp - the answer of a policy: one leg for a plain policy, up to 16 for the others.
//
// What      Pick is a Request that can be answered: select() for a plain policy, add()/take() for plans.
// Threads   [request], during the pick that got it. All hot.
// Ownership Legs are the host's. Text and arrays that a leg points to must live until its request has ended:
//           literals, the policy's own, or copy(), edits(), captures(), which use the request's memory.
// Errors    Nothing throws. A plan too long, or memory used up, fails the whole pick (TG_E_LIMIT).
#pragma once
#include <charconv>
#include "config.hpp"
#include "request.hpp"
#include "text.hpp"

namespace tg {

struct PickAnswer {  // on the trampoline's stack
  tg_plan* plan;
  tg_status status;
};

// A list of edits in the request's memory, filled up to its room.
class Edits {
 public:
  Edits(PickAnswer* answer, tg_edit* list, uint32_t room) noexcept
      : answer_(answer), list_(list), room_(list ? room : 0) {}
  // value: raw JSON text for a body member ("3", "\"text\""), or a header's value.
  Edits& set(std::string_view name, std::string_view value) noexcept { return put(TG_EDIT_SET, name, value); }
  Edits& drop(std::string_view name) noexcept { return put(TG_EDIT_DROP, name, {}); }
  const tg_edit* data() const noexcept { return list_; }
  uint32_t size() const noexcept { return count_; }

 private:
  Edits& put(uint32_t op, std::string_view name, std::string_view value) noexcept {
    if (count_ < room_) {
      list_[count_++] = {op, 0, str(name), str(value)};
    } else {
      answer_->status = TG_E_LIMIT;
    }
    return *this;
  }
  PickAnswer* answer_;
  tg_edit* list_;
  uint32_t room_, count_ = 0;
};

// One leg of the plan. Every setter returns the leg. On a plan that is full they do nothing.
class Leg {
 public:
  explicit Leg(tg_leg* leg) noexcept : leg_(leg) {}
  Leg& stage(uint32_t role) noexcept { return set(&tg_leg::stage, role); }
  Leg& with_previous() noexcept { return set(&tg_leg::start, TG_START_WITH_PREVIOUS); }
  Leg& after_previous() noexcept { return set(&tg_leg::start, TG_START_AFTER_PREVIOUS); }
  Leg& relay() noexcept { return set(&tg_leg::response, TG_RESPONSE_RELAY); }
  Leg& drain() noexcept { return set(&tg_leg::response, TG_RESPONSE_DRAIN); }
  Leg& discard() noexcept { return set(&tg_leg::response, TG_RESPONSE_DISCARD); }
  Leg& on_failure(uint32_t failure) noexcept { return set(&tg_leg::on_failure, failure); }  // TG_FAILURE_*
  Leg& relay_errors(bool yes = true) noexcept { return set(&tg_leg::relay_errors, yes); }
  Leg& time_limit(std::chrono::milliseconds t) noexcept {
    return set(&tg_leg::time_limit_ms, static_cast<uint32_t>(t.count()));
  }
  Leg& cookie(uint64_t value) noexcept { return set(&tg_leg::cookie, value); }
  Leg& path(std::string_view path) noexcept { return set(&tg_leg::path, str(path)); }
  Leg& cancel(const tg_cancel& cancel) noexcept { return set(&tg_leg::cancel, cancel); }
  Leg& body(const Edits& e) noexcept { return body({e.data(), e.size()}); }
  Leg& body(std::span<const tg_edit> e) noexcept { return list(&tg_leg::edits, &tg_leg::edit_count, e); }
  Leg& headers(const Edits& e) noexcept { return headers({e.data(), e.size()}); }
  Leg& headers(std::span<const tg_edit> e) noexcept {
    return list(&tg_leg::headers, &tg_leg::header_count, e);
  }
  Leg& captures(std::span<const tg_capture> c) noexcept {
    return list(&tg_leg::captures, &tg_leg::capture_count, c);
  }
  tg_leg* get() const noexcept { return leg_; }

 private:
  template <class T, class V>
  Leg& set(T tg_leg::*member, V value) noexcept {
    if (leg_) leg_->*member = static_cast<T>(value);
    return *this;
  }
  template <class T>
  Leg& list(const T* tg_leg::*items, uint32_t tg_leg::*count, std::span<const T> from) noexcept {
    if (leg_) leg_->*items = from.data(), leg_->*count = static_cast<uint32_t>(from.size());
    return *this;
  }
  tg_leg* leg_;
};

class Pick : public Request {
 public:
  Pick(const Host& host, const tg_pick_args& args, PickAnswer* answer) noexcept
      : Request(host, args), answer_(answer) {}

  // The whole plan of a plain policy: one relayed leg, planned anew when it fails.
  Leg select(uint32_t slot) const noexcept { return Leg(tg_plan_select(answer_->plan, slot)); }
  Leg add(uint32_t slot) const noexcept { return added(tg_plan_add(answer_->plan, slot)); }
  // A leg that a child chose; all of its legs, or its verdict where it selected none.
  Leg take(const tg_leg& leg) const noexcept { return added(tg_plan_take(answer_->plan, &leg)); }
  void take(const Chosen& chosen) const noexcept {
    if (!chosen.selected()) return refuse_as(chosen);
    for (uint32_t i = 0; i < chosen.size(); ++i) {
      Leg leg = take(chosen.leg(i));
      if (i > 0 && leg.get()) leg.get()->start = chosen.leg(i).start;
    }
  }
  void wait(std::string_view reason = {}) const noexcept { refuse(TG_PICK_WAIT, {}, reason); }
  // At the latest after that time; the host asks earlier when it sees a change.
  void wait(std::chrono::milliseconds ask_again, std::string_view reason = {}) const noexcept {
    refuse(TG_PICK_WAIT, ask_again, reason);
  }
  void fail(std::string_view reason = {}) const noexcept { refuse(TG_PICK_FAIL, {}, reason); }
  void shed(std::chrono::milliseconds retry_after, std::string_view reason = {}) const noexcept {
    refuse(TG_PICK_SHED, retry_after, reason);
  }
  // Short, for logs and explanations: a literal, or copy()d.
  void reason(std::string_view text) const noexcept { answer_->plan->reason = str(text); }
  void transform() const noexcept { answer_->plan->transform = 1; }

  Edits edits(uint32_t room) const noexcept { return Edits(answer_, allocate<tg_edit>(room), room); }
  std::span<tg_capture> captures(uint32_t count) const noexcept {
    auto* list = allocate<tg_capture>(count);
    if (!list) answer_->status = TG_E_LIMIT;
    return {list, list ? count : 0};
  }
  std::string_view number(uint64_t value) const noexcept {  // as JSON text in the request's memory
    char text[20];
    return copy({text, static_cast<size_t>(std::to_chars(text, text + sizeof text, value).ptr - text)});
  }

 private:
  Leg added(tg_leg* leg) const noexcept {
    if (!leg) answer_->status = TG_E_LIMIT;
    return Leg(leg);
  }
  void refuse(uint32_t verdict, std::chrono::milliseconds after, std::string_view reason) const noexcept {
    answer_->plan->leg_count = 0;
    answer_->plan->verdict = verdict;
    answer_->plan->retry_after_ms = static_cast<uint32_t>(after.count());
    answer_->plan->reason = str(reason);
  }
  void refuse_as(const Chosen& chosen) const noexcept {
    auto* plan = chosen.plan();
    bool known = plan && plan->verdict != TG_PICK_SELECT;
    refuse(known ? plan->verdict : static_cast<uint32_t>(TG_PICK_FAIL),
           std::chrono::milliseconds(known ? plan->retry_after_ms : 0), known ? view(plan->reason) : "");
  }
  PickAnswer* answer_;
};

}  // namespace tg
