// tidegate/component.hpp - what policies and scorers have in common to become callable.
//
// What      Instance (what `self` points to), tables from build(), the component record. Not for direct use:
//           see policy.hpp.
// Threads   As policy.hpp says.
// Ownership As policy.hpp says.
// Errors    Exceptions of constructors and of build() become tg_error.
#pragma once
#include "check.hpp"

namespace tg {
namespace TG_HIDDEN detail {

template <class T>
T construct(const Host& host, const Config& config) {
  if constexpr (std::is_constructible_v<T, const Host&, const Config&>) {
    return T(host, config);
  } else if constexpr (std::is_constructible_v<T, const Config&> && !std::is_convertible_v<Config, T>) {
    return T(config);
  } else if constexpr (std::is_constructible_v<T, const Host&>) {
    return T(host);
  } else {
    return T();
  }
}

template <class T>
struct Instance {
  Instance(const tg_host* h, tg_str json) : host(h), value(construct<T>(host, Config(host, json))) {}
  Host host;
  T value;
};

template <class T>
constexpr uint32_t flags_of() noexcept {
  if constexpr (requires { T::flags; }) return T::flags;
  return 0;
}

template <class T>
constexpr tg_component component(const char* interface_id, const void* functions) noexcept {
  const char* schema = nullptr;
  if constexpr (requires { T::schema; }) schema = T::schema;
  return {sizeof(tg_component), 0, interface_id, T::name, T::summary, schema, functions};
}

// build() and release() of policies and scorers.
template <class T>
struct TableCalls {
  using Table = table_of<T>;
  static tg_status build(void* self, const tg_snapshot* snapshot, void** table, tg_error* error) noexcept {
    return guard(error, [&] {
      T& value = static_cast<Instance<T>*>(self)->value;
      if constexpr (requires { value.build(Snapshot(snapshot)).release(); }) {
        *table = const_cast<void*>(static_cast<const void*>(value.build(Snapshot(snapshot)).release()));
      } else {
        *table = new Table(value.build(Snapshot(snapshot)));
      }
    });
  }
  static void release(void*, void* table) noexcept { delete static_cast<Table*>(table); }
};

}  // namespace detail
}  // namespace tg
