// tidegate/scorer.hpp - tg::scorer<T>(): the component that a scorer class makes.
//
// What      Says how well each candidate suits a request, from 0 to 1; a policy (`weighted`, or one of yours
//           with scorers.hpp) adds scorers up and picks.
//           Members as of a policy (policy.hpp), with one of these instead of pick():
//             float score(tg::Request, uint32_t slot) noexcept            or with (..., const Table&)
//             void score(tg::Request, std::span<float> out) noexcept      or with (..., const Table&)
// Threads   score, complete: [request], many at once with TG_CONCURRENT. All others: [control].
// Ownership As for a policy.
// Errors    As for a policy.
#pragma once
#include "component.hpp"

namespace tg {
namespace TG_HIDDEN detail {

template <class T>
concept scores_slot = requires(T& t, Request r, uint32_t slot) {
  { t.score(r, slot) }
  noexcept->std::same_as<float>;
};
template <class T>
concept scores_all = requires(T& t, Request r, std::span<float> out) {
  { t.score(r, out) }
  noexcept->std::same_as<void>;
};
template <class T>
concept scores_slot_with_table = has_build<T> &&
    requires(T& t, Request r, uint32_t slot, table_ref<T> table) {
  { t.score(r, slot, table) }
  noexcept->std::same_as<float>;
};
template <class T>
concept scores_all_with_table = has_build<T> &&
    requires(T& t, Request r, std::span<float> out, table_ref<T> table) {
  { t.score(r, out, table) }
  noexcept->std::same_as<void>;
};

template <class T>
consteval bool check_scorer() {
  static_assert(check_component<T>());
  static_assert(scores_slot<T> || scores_all<T> || scores_slot_with_table<T> || scores_all_with_table<T>,
                "a scorer needs: float score(tg::Request, uint32_t slot) noexcept; see tidegate/scorer.hpp "
                "for other forms");
  TG_DETAIL_FITS(T, complete, has_complete, "void complete(const tg_completion&) noexcept");
  return true;
}

template <class T>
struct ScorerCalls {
  using Self = Instance<T>;
  static T& of(void* self) noexcept { return static_cast<Self*>(self)->value; }
  static tg_status create(const tg_host* host, tg_str json, void** self, tg_error* error) noexcept {
    return guard(error, [&] { *self = new Self(host, json); });
  }
  static void destroy(void* self) noexcept { delete static_cast<Self*>(self); }
  static tg_status score(void* self, const void* table, const tg_pick_args* args, float* out) noexcept {
    Request r(static_cast<Self*>(self)->host, *args);
    std::span<float> all(out, args->candidate_count);
    if constexpr (scores_slot_with_table<T> || scores_all_with_table<T>) {
      if (!table) return TG_E_UNAVAILABLE;
      auto& t = *static_cast<const table_of<T>*>(table);
      if constexpr (scores_all_with_table<T>) {
        of(self).score(r, all, t);
      } else {
        for (size_t i = 0; i < all.size(); ++i) all[i] = of(self).score(r, args->candidates[i], t);
      }
    } else if constexpr (scores_all<T>) {
      of(self).score(r, all);
    } else {
      for (size_t i = 0; i < all.size(); ++i) all[i] = of(self).score(r, args->candidates[i]);
    }
    return TG_OK;
  }
  static void complete(void* self, const tg_completion* completion) noexcept {
    of(self).complete(*completion);
  }

  static constexpr tg_scorer make() noexcept {
    tg_scorer s{};
    s.size = sizeof s;
    s.flags = flags_of<T>();
    s.create = &create;
    s.destroy = &destroy;
    s.score = &score;
    if constexpr (has_build<T>) s.build = &TableCalls<T>::build, s.release = &TableCalls<T>::release;
    if constexpr (has_complete<T>) s.complete = &complete;
    return s;
  }
  static constexpr tg_scorer functions = make();
};

}  // namespace detail

template <class T>
constexpr tg_component scorer() noexcept {
  static_assert(detail::check_scorer<T>());
  return detail::component<T>(TG_SCORER_INTERFACE, &detail::ScorerCalls<T>::functions);
}

}  // namespace tg
