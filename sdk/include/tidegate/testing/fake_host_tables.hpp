// tidegate/testing/fake_host_tables.hpp - the function tables behind FakeHost. Included by fake_host.hpp.
//
// What      One struct of static functions; each finds its FakeHost behind the handle.
//           Longer than a header should be: seven tables of one shape, which are easier to read in one place.
// Threads, ownership, errors: as fake_host.hpp says.
#pragma once
#include "fake_host.hpp"

namespace tg::testing {

struct HostTables {
  static FakeHost& of(const tg_host* host) noexcept {
    return *reinterpret_cast<const FakeHost::Self*>(host)->owner;
  }

  // --- log ---
  static bool log_enabled(const tg_host*, int32_t) noexcept { return true; }
  static void log_write(const tg_host* h, int32_t level, tg_str text, const tg_kv* fields,
                        uint32_t count) noexcept {
    FakeHost::Line line{level, std::string(view(text)), {}};
    for (uint32_t i = 0; i < count; ++i) line.fields.emplace(view(fields[i].key), view(fields[i].value));
    of(h).lines.push_back(std::move(line));
  }
  static constexpr tg_host_log log{sizeof(tg_host_log), 0, log_enabled, log_write};

  // --- metrics: an id is an index into metric_cells_, from 1; a histogram has two cells, sum and count ---
  static tg_metric cell(const tg_host* h, tg_str name, const char* suffix, const tg_kv* labels,
                        uint32_t count) noexcept {
    std::string key = std::string(view(name)) + suffix;
    for (uint32_t i = 0; i < count; ++i)
      key += (i ? "," : "{") + std::string(view(labels[i].key)) + "=" + std::string(view(labels[i].value));
    if (count) key += "}";
    of(h).metric_cells_.push_back(&of(h).metrics[key]);
    return of(h).metric_cells_.size();
  }
  static tg_metric scalar(const tg_host* h, tg_str name, tg_str, const tg_kv* labels,
                          uint32_t count) noexcept {
    return cell(h, name, "", labels, count);
  }
  static tg_metric histogram(const tg_host* h, tg_str name, tg_str, const tg_kv* labels, uint32_t count,
                             const double*, uint32_t) noexcept {
    tg_metric sum = cell(h, name, "_sum", labels, count);
    cell(h, name, "_count", labels, count);
    return sum;
  }
  static void add(const tg_host* h, tg_metric id, double by) noexcept {
    if (id) *of(h).metric_cells_[id - 1] += by;
  }
  static void set(const tg_host* h, tg_metric id, double to) noexcept {
    if (id) *of(h).metric_cells_[id - 1] = to;
  }
  static void observe(const tg_host* h, tg_metric id, double value) noexcept {
    add(h, id, value), add(h, id ? id + 1 : 0, 1);
  }
  static constexpr tg_host_metrics metrics{
      sizeof(tg_host_metrics), 0, scalar, scalar, histogram, add, set, observe};

  // --- config ---
  static const Json* at(const tg_host* h, tg_str path, Json::Kind kind) noexcept {
    const Json* found = of(h).config_.at(view(path));
    return found && found->kind == kind ? found : nullptr;
  }
  static bool boolean(const tg_host* h, tg_str path, bool otherwise) noexcept {
    auto* v = at(h, path, Json::Kind::boolean);
    return v ? v->truth : otherwise;
  }
  static int64_t integer(const tg_host* h, tg_str path, int64_t otherwise) noexcept {
    auto* v = at(h, path, Json::Kind::number);
    return v ? static_cast<int64_t>(v->number) : otherwise;
  }
  static double number(const tg_host* h, tg_str path, double otherwise) noexcept {
    auto* v = at(h, path, Json::Kind::number);
    return v ? v->number : otherwise;
  }
  static tg_str string(const tg_host* h, tg_str path, tg_str otherwise) noexcept {
    auto* v = at(h, path, Json::Kind::string);
    return v ? str(v->text) : otherwise;
  }
  static uint64_t duration_ms(const tg_host* h, tg_str path, uint64_t otherwise) noexcept {
    if (auto* v = at(h, path, Json::Kind::number)) return static_cast<uint64_t>(v->number * 1000);
    auto* v = at(h, path, Json::Kind::string);
    if (!v) return otherwise;
    char* unit = nullptr;
    double amount = std::strtod(v->text.c_str(), &unit);
    std::string_view u = unit;
    return static_cast<uint64_t>(amount * (u == "ms" ? 1 : u == "m" ? 60'000 : u == "h" ? 3'600'000 : 1000));
  }
  static uint32_t count(const tg_host* h, tg_str path) noexcept {
    const Json* v = of(h).config_.at(view(path));
    return v ? static_cast<uint32_t>(v->items.size() + v->members.size()) : 0;
  }
  static tg_str key(const tg_host* h, tg_str path, uint32_t index) noexcept {
    const Json* v = of(h).config_.at(view(path));
    return v && index < v->members.size() ? str(std::next(v->members.begin(), index)->first) : tg_str{};
  }
  static tg_status json(const tg_host* h, tg_str path, tg_out* out) noexcept {
    const Json* v = of(h).config_.at(view(path));
    if (v) out->write(out, str(v->dump()));
    return v ? TG_OK : TG_E_NOT_FOUND;
  }
  static tg_status secret(const tg_host* h, tg_str ref, tg_out* out) noexcept {
    auto found = of(h).secrets.find(view(ref));
    if (found == of(h).secrets.end()) return TG_E_NOT_FOUND;
    out->write(out, str(found->second));
    return TG_OK;
  }
  static constexpr tg_host_config config{
      sizeof(tg_host_config), 0, boolean, integer, number, string, duration_ms, count, json, secret, key};

  // --- clock: random is splitmix64 ---
  static uint64_t monotonic_ns(const tg_host* h) noexcept { return of(h).now_ns_; }
  static uint64_t unix_ms(const tg_host* h) noexcept { return 1'700'000'000'000 + of(h).now_ns_ / 1'000'000; }
  static uint64_t random(const tg_host* h) noexcept {
    uint64_t z = of(h).random_state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  static constexpr tg_host_clock clock{sizeof(tg_host_clock), 0, monotonic_ns, unix_ms, random};

  // --- control ---
  static tg_status post(const tg_host* h, void (*run)(void*), void* argument) noexcept {
    of(h).posted_.push_back({run, argument});
    return TG_OK;
  }
  static uint64_t timer(const tg_host* h, uint64_t first, uint64_t every, void (*run)(void*),
                        void* argument) noexcept {
    FakeHost& host = of(h);
    host.timers_[host.next_timer_id_] = {
        host.now_ns_ + first * 1'000'000, every * 1'000'000, {run, argument}};
    return host.next_timer_id_++;
  }
  static void cancel(const tg_host* h, uint64_t id) noexcept { of(h).timers_.erase(id); }
  static bool on_control_thread(const tg_host*) noexcept { return true; }
  static void rebuild(const tg_host* h) noexcept { of(h).rebuild_ = true; }
  static constexpr tg_host_control control{sizeof(tg_host_control), 0,      post, timer, cancel,
                                           on_control_thread,       rebuild};

  // --- policy: a child's plan lies in the request's memory ---
  static tg_status create_child(const tg_host* h, tg_str path, tg_child** child, tg_policy_traits* traits,
                                tg_error* error) noexcept {
    auto found = of(h).children.find(view(path));
    if (found == of(h).children.end())
      return detail::fail(error, TG_E_NOT_FOUND, view(path), "the test gave this host no child at this path");
    *child = reinterpret_cast<tg_child*>(&found->second);
    if (traits) *traits = of(h).child_traits;
    return TG_OK;
  }
  static tg_status pick_child(const tg_child* child, const tg_pick_args* args, const tg_plan** out) noexcept {
    auto* request = FakeRequest::from(args->request);
    auto* plan = static_cast<tg_plan*>(request->allocate(sizeof(tg_plan), alignof(tg_plan)));
    auto* legs = static_cast<tg_leg*>(request->allocate(sizeof(tg_leg) * TG_MAX_LEGS, alignof(tg_leg)));
    if (!plan || !legs) return TG_E_LIMIT;
    *plan = {.size = sizeof *plan,
             .verdict = TG_PICK_FAIL,
             .leg_count = 0,
             .leg_stride = sizeof(tg_leg),
             .legs = legs,
             .retry_after_ms = 0,
             .transform = 0,
             .reason = {}};
    *out = plan;
    return (*reinterpret_cast<const FakeHost::ChildPick*>(child))(*args, *plan);
  }
  static tg_status create_scorer(const tg_host* h, tg_str path, tg_scorer_child** child,
                                 tg_error* error) noexcept {
    auto found = of(h).scorers.find(view(path));
    if (found == of(h).scorers.end())
      return detail::fail(error, TG_E_NOT_FOUND, view(path),
                          "the test gave this host no scorer at this path");
    *child = reinterpret_cast<tg_scorer_child*>(&found->second);
    return TG_OK;
  }
  static tg_status score(const tg_scorer_child* child, const tg_pick_args* args, float* scores) noexcept {
    std::span<float> all(scores, args->candidate_count);
    std::fill(all.begin(), all.end(), 0.0f);
    tg_status status = (*reinterpret_cast<const FakeHost::Score*>(child))(*args, all);
    if (status != TG_OK) std::fill(all.begin(), all.end(), 0.0f);
    return status;
  }
  static constexpr tg_host_policy policy{sizeof(tg_host_policy), 0,    create_child, pick_child,
                                         create_scorer,          score};

  // --- request ---
  static tg_str header(const tg_request* r, tg_str name) noexcept {
    return FakeRequest::from(r)->header(view(name));
  }
  static void* allocate(const tg_request* r, size_t length, size_t align) noexcept {
    return FakeRequest::from(r)->allocate(length, align);
  }
  static bool remember(const tg_host* h, const tg_request*, const void* data, uint32_t length) noexcept {
    FakeHost& host = of(h);
    if (length > host.memory_.capacity() - host.memory_.size() ||
        host.lengths_.size() == host.lengths_.capacity())
      return false;
    host.memory_.append(static_cast<const char*>(data), length);
    host.lengths_.push_back(length);
    return true;
  }
  static constexpr tg_host_request request{sizeof(tg_host_request), 0, header, allocate, remember};
};

inline const void* FakeHost::interface_of(const tg_host* host, const char* id) noexcept {
  static constexpr std::pair<std::string_view, const void*> all[] = {
      {TG_HOST_LOG, &HostTables::log},         {TG_HOST_METRICS, &HostTables::metrics},
      {TG_HOST_CONFIG, &HostTables::config},   {TG_HOST_CLOCK, &HostTables::clock},
      {TG_HOST_CONTROL, &HostTables::control}, {TG_HOST_POLICY, &HostTables::policy},
      {TG_HOST_REQUEST, &HostTables::request}};
  if (HostTables::of(host).withheld_.count(std::string_view(id))) return nullptr;
  for (auto& [name, table] : all)
    if (name == id) return table;
  return nullptr;
}

}  // namespace tg::testing
