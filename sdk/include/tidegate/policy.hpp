// tidegate/policy.hpp - tg::policy<T>(): the component that a policy class makes.
//
// What      A policy is a class with
//             static constexpr auto name = "...", summary = "...";
//             T(tg::Host, tg::Config)              or (tg::Host), (tg::Config), ()
//             void pick(tg::Pick) noexcept         or (tg::Pick, const Table&), with a build()
//           and whichever of these it wants; one that nearly fits does not compile:
//             static constexpr uint32_t flags = TG_CONCURRENT | TG_NEED_...;
//             static constexpr auto schema = R"({...})";     JSON Schema of the configuration
//             Table build(tg::Snapshot)                      a value or a std::unique_ptr<Table>
//             void complete(const tg_completion&) noexcept
//             bool learn(std::span<const tg_record>) noexcept   true: wants build() and a publication
//             void transform(tg::Transform) noexcept
//             uint32_t roles() const; uint32_t needs() const;   tg_policy_traits
//             static constexpr uint64_t state_id = ...;  void adopt(T& previous)
//             void export_state(tg::Out);  void import_state(std::string_view)
//             void describe(tg::Out)                         a JSON object
// Threads   pick, complete, transform: [request], many at once with TG_CONCURRENT. All others: [control].
// Ownership The host owns the instance: its destructor is destroy(). release() deletes tables.
// Errors    Control functions may throw; [request] functions and learn must be noexcept.
#pragma once
#include "component.hpp"
#include "pick.hpp"

namespace tg {

// One piece of a relayed body on its way to the client.
class Transform {
 public:
  Transform(const tg_transform_args* args, tg_out* out) noexcept : args_(args), out_(out) {}
  std::string_view data() const noexcept { return view(args_->data); }
  bool last() const noexcept { return args_->last != 0; }
  bool is_event() const noexcept { return args_->sse != 0; }  // data is the payload of one server-sent event
  std::string_view earlier(uint32_t leg) const noexcept {     // the body of a drained leg
    return leg < args_->earlier_count ? view(args_->earlier[leg]) : std::string_view();
  }
  uint64_t cookie() const noexcept { return args_->cookie; }
  void write(std::string_view text) const noexcept { out_->write(out_, str(text)); }

 private:
  const tg_transform_args* args_;
  tg_out* out_;
};

// What a pick remembered as a T; null when the record is not one.
template <class T>
const T* record_as(const tg_record& record) noexcept {
  static_assert(alignof(T) <= 8, "records are aligned to 8");
  return record.len == sizeof(T) ? static_cast<const T*>(record.data) : nullptr;
}

namespace TG_HIDDEN detail {

template <class T>
struct PolicyCalls {
  using Self = Instance<T>;
  using Table = table_of<T>;
  static T& of(void* self) noexcept { return static_cast<Self*>(self)->value; }

  static tg_status create(const tg_host* host, tg_str json, tg_policy_traits* traits, void** self,
                          tg_error* error) noexcept {
    return guard(error, [&] {
      auto* made = new Self(host, json);
      *self = made;
      if constexpr (requires(const T& t) { t.roles(); }) traits->roles = made->value.roles();
      if constexpr (requires(const T& t) { t.needs(); }) traits->needs = made->value.needs();
    });
  }
  static void destroy(void* self) noexcept { delete static_cast<Self*>(self); }
  static tg_status adopt(void* self, void* previous) noexcept {
    return guard(nullptr, [&] { of(self).adopt(of(previous)); });
  }
  static tg_status export_state(void* self, tg_out* out) noexcept {
    return guard(nullptr, [&] { of(self).export_state(Out(out)); });
  }
  static tg_status import_state(void* self, tg_str bytes) noexcept {
    return guard(nullptr, [&] { of(self).import_state(view(bytes)); });
  }
  static tg_status pick(void* self, const void* table, const tg_pick_args* args, tg_plan* plan) noexcept {
    PickAnswer answer{plan, TG_OK};
    Pick p(static_cast<Self*>(self)->host, *args, &answer);
    if constexpr (picks_with_table<T>) {
      if (!table) return TG_E_UNAVAILABLE;
      of(self).pick(p, *static_cast<const Table*>(table));
    } else {
      of(self).pick(p);
    }
    return answer.status;
  }
  static void complete(void* self, const tg_completion* completion) noexcept {
    of(self).complete(*completion);
  }
  static tg_status transform(void* self, const tg_transform_args* args, tg_out* out) noexcept {
    of(self).transform(Transform(args, out));
    return TG_OK;
  }
  static void learn(void* self, const tg_record* records, uint32_t count, uint32_t* rebuild) noexcept {
    std::span<const tg_record> batch(records, count);
    if constexpr (std::is_same_v<decltype(of(self).learn(batch)), bool>) {
      if (of(self).learn(batch)) *rebuild = 1;
    } else {
      of(self).learn(batch);
    }
  }
  static tg_status describe(void* self, tg_out* out) noexcept {
    return guard(nullptr, [&] { of(self).describe(Out(out)); });
  }

  static constexpr tg_policy make() noexcept {
    tg_policy p{};
    p.size = sizeof p;
    p.flags = flags_of<T>();
    if constexpr (requires { T::state_id; }) p.state_id = T::state_id;
    p.create = &create;
    p.destroy = &destroy;
    p.pick = &pick;
    if constexpr (has_adopt<T>) p.adopt = &adopt;
    if constexpr (has_export<T>) p.export_state = &export_state;
    if constexpr (has_import<T>) p.import_state = &import_state;
    if constexpr (has_build<T>) p.build = &TableCalls<T>::build, p.release = &TableCalls<T>::release;
    if constexpr (has_complete<T>) p.complete = &complete;
    if constexpr (has_transform<T>) p.transform = &transform;
    if constexpr (has_learn<T>) p.learn = &learn;
    if constexpr (has_describe<T>) p.describe = &describe;
    return p;
  }
  static constexpr tg_policy functions = make();
};

}  // namespace detail

// The component to name in TG_PLUGIN.
template <class T>
constexpr tg_component policy() noexcept {
  static_assert(detail::check_policy<T>());
  return detail::component<T>(TG_POLICY_INTERFACE, &detail::PolicyCalls<T>::functions);
}

}  // namespace tg
