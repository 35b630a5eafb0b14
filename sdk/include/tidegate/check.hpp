// tidegate/check.hpp - what a component class must be: concepts, and the texts of the static_asserts.
//
// What      One concept for each member that the layer calls. Not for direct use: see policy.hpp.
// Threads   None: all of it happens in the compiler.
// Ownership None.
// Errors    A class that lacks something does not compile, and the text says what to write.
#pragma once
#include <concepts>
#include <memory>
#include <type_traits>

#include "config.hpp"
#include "request.hpp"

namespace tg {
class Pick;
class Transform;

namespace TG_HIDDEN detail {

// The type that build() makes: Table of `Table build(...)` and of `std::unique_ptr<Table> build(...)`; void
// without build().
template <class T>
struct Pointee {
  using type = T;
};
template <class T, class D>
struct Pointee<std::unique_ptr<T, D>> {
  using type = T;
};
template <class T>
concept has_build = requires(T& t, Snapshot s) {
  t.build(s);
}
&&!std::is_void_v<decltype(std::declval<T&>().build(std::declval<Snapshot>()))>;
template <class T>
struct TableOf {
  using type = void;
};
template <has_build T>
struct TableOf<T> {
  using type = typename Pointee<decltype(std::declval<T&>().build(std::declval<Snapshot>()))>::type;
};
template <class T>
using table_of = typename TableOf<T>::type;
template <class T>
using table_ref = std::conditional_t<std::is_void_v<table_of<T>>, int, std::add_const_t<table_of<T>>>&;

template <class T>
concept picks_plain = requires(T& t, Pick p) {
  { t.pick(p) }
  noexcept;
};
template <class T>
concept picks_with_table = has_build<T> && requires(T& t, Pick p, table_ref<T> table) {
  { t.pick(p, table) }
  noexcept;
};
template <class T>
concept has_complete = requires(T& t, const tg_completion& c) {
  { t.complete(c) }
  noexcept;
};
template <class T>
concept has_transform = requires(T& t, Transform x) {
  { t.transform(x) }
  noexcept;
};
template <class T>
concept has_learn = requires(T& t, std::span<const tg_record> r) {
  { t.learn(r) }
  noexcept;
};
template <class T>
concept has_adopt = requires(T& t, T& previous) {
  t.adopt(previous);
};
template <class T>
concept has_export = requires(T& t, Out out) {
  t.export_state(out);
};
template <class T>
concept has_import = requires(T& t, std::string_view bytes) {
  t.import_state(bytes);
};
template <class T>
concept has_describe = requires(T& t, Out out) {
  t.describe(out);
};

// A member of that name whose signature is not the one that is called would silently never run.
// NOLINTBEGIN(bugprone-macro-parentheses): the arguments are names
#define TG_DETAIL_FITS(T, member, has, wanted) \
  static_assert(                               \
      !requires { &T::member; } || has<T>, "`" #member "` does not fit; it must be: " wanted)
// NOLINTEND(bugprone-macro-parentheses)

template <class T>
consteval bool check_component() {
  static_assert(
      requires {
        { T::name } -> std::convertible_to<const char*>;
      },
      "a component needs: static constexpr auto name = \"...\"; in a public section");
  static_assert(
      requires {
        { T::summary } -> std::convertible_to<const char*>;
      },
      "a component needs: static constexpr auto summary = \"one line\"; in a public section");
  TG_DETAIL_FITS(T, build, has_build,
                 "Table build(tg::Snapshot), returning a value or a std::unique_ptr<Table>");
  TG_DETAIL_FITS(T, describe, has_describe, "void describe(tg::Out)");
  return true;
}

template <class T>
consteval bool check_policy() {
  static_assert(check_component<T>());
  static_assert(std::is_constructible_v<T, const Host&, const Config&> ||
                    std::is_constructible_v<T, const Config&> || std::is_constructible_v<T, const Host&> ||
                    std::is_default_constructible_v<T>,
                "a policy is made from (tg::Host, tg::Config), (tg::Host), (tg::Config) or ()");
  static_assert(
      picks_plain<T> || picks_with_table<T>,
      "a policy needs: void pick(tg::Pick) noexcept, or void pick(tg::Pick, const Table&) noexcept with a "
      "build(); public, and noexcept: it runs on the gateway's I/O threads");
  TG_DETAIL_FITS(T, complete, has_complete, "void complete(const tg_completion&) noexcept");
  TG_DETAIL_FITS(T, transform, has_transform, "void transform(tg::Transform) noexcept");
  TG_DETAIL_FITS(T, learn, has_learn, "bool or void learn(std::span<const tg_record>) noexcept");
  TG_DETAIL_FITS(T, adopt, has_adopt, "void adopt(T& previous)");
  TG_DETAIL_FITS(T, export_state, has_export, "void export_state(tg::Out)");
  TG_DETAIL_FITS(T, import_state, has_import, "void import_state(std::string_view)");
  if constexpr (has_adopt<T>)
    static_assert(
        requires {
          uint64_t{T::state_id};
          requires T::state_id != 0;
        },
        "adopt() needs: static constexpr uint64_t state_id = a number of your own; change it with the "
        "layout");
  return true;
}

}  // namespace detail
}  // namespace tg
