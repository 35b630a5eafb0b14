// tidegate/discovery.hpp - tg::discovery<T>(): the component that a source of workers makes.
//
// What      A source is a class with name and summary (flags, schema: optional), and
//             T(tg::Host, tg::Config, tg::Sink)  copies what it keeps; no network
//             void run(tg::Stop)                 reports until stop is wanted, or nothing will change
//             void describe(tg::Out)             optional
// Threads   Constructor and destructor: [control]. run: its own thread, may block. describe: [any].
// Ownership The sink is valid until the destructor has returned. The host copies workers at once.
// Errors    The constructor and run() may throw. The host logs it and calls run() again after a pause.
#pragma once
#include <vector>

#include "component.hpp"

namespace tg {

// A worker as a source knows it; owns its text. See tg_worker_desc for the meaning of each member.
struct Worker {
  std::string id, url, zone, secret_ref, health_path;
  std::vector<std::string> models;
  std::vector<std::pair<std::string, std::string>> labels;
  uint32_t role = TG_ROLE_ANY, weight_milli = 1000, bootstrap_port = 0, max_running = 0, block_tokens = 0,
           ttl_ms = 0;
  uint64_t kv_blocks = 0;
  bool draining = false;
};

class Sink {
 public:
  explicit Sink(tg_discovery_sink* sink) noexcept : sink_(sink) {}
  // The whole truth of this source. False once the source is being stopped; Error for a worker that the host
  // refuses.
  bool publish(std::span<const Worker> workers) const {
    Borrowed all(workers);
    auto error = detail::sized<tg_error>();
    return done(sink_->publish(sink_, all.descs.data(), static_cast<uint32_t>(workers.size()),
                               sizeof(tg_worker_desc), &error),
                error);
  }
  bool upsert(const Worker& worker) const {
    Borrowed one({&worker, 1});
    auto error = detail::sized<tg_error>();
    return done(sink_->upsert(sink_, one.descs.data(), &error), error);
  }
  bool remove(std::string_view id, std::string_view reason) const {
    auto error = detail::sized<tg_error>();
    return done(sink_->remove(sink_, str(id), str(reason), &error), error);
  }
  void synced() const noexcept { sink_->synced(sink_); }
  void failed(tg_status status, std::string_view text) const noexcept {
    sink_->failed(sink_, status, str(text));
  }

 private:
  struct Borrowed {  // the C form, pointing into the workers
    explicit Borrowed(std::span<const Worker> workers) : models(workers.size()), labels(workers.size()) {
      descs.reserve(workers.size());
      for (size_t i = 0; i < workers.size(); ++i) {
        const Worker& w = workers[i];
        for (auto& m : w.models) models[i].push_back(str(m));
        for (auto& [key, value] : w.labels) labels[i].push_back(kv(key, value));
        tg_worker_desc d{};
        d.size = sizeof d, d.role = w.role, d.draining = w.draining, d.weight_milli = w.weight_milli;
        d.id = str(w.id), d.url = str(w.url), d.zone = str(w.zone);
        d.models = models[i].data(), d.model_count = static_cast<uint32_t>(models[i].size());
        d.labels = labels[i].data(), d.label_count = static_cast<uint32_t>(labels[i].size());
        d.secret_ref = str(w.secret_ref), d.health_path = str(w.health_path);
        d.bootstrap_port = w.bootstrap_port, d.max_running = w.max_running, d.block_tokens = w.block_tokens;
        d.ttl_ms = w.ttl_ms, d.kv_blocks = w.kv_blocks;
        descs.push_back(d);
      }
    }
    std::vector<tg_worker_desc> descs;
    std::vector<std::vector<tg_str>> models;
    std::vector<std::vector<tg_kv>> labels;
  };
  static bool done(tg_status status, const tg_error& error) {
    if (status == TG_E_CANCELLED) return false;
    detail::check(status, error, "the host's sink");
    return true;
  }
  tg_discovery_sink* sink_;
};

namespace TG_HIDDEN detail {

template <class T>
struct DiscoveryCalls {
  struct Self {
    Self(const tg_host* h, tg_str json, tg_discovery_sink* sink)
        : host(h), value(host, Config(host, json), Sink(sink)) {}
    Host host;
    T value;
  };
  static T& of(void* self) noexcept { return static_cast<Self*>(self)->value; }
  static tg_status create(const tg_host* host, tg_str json, tg_discovery_sink* sink, void** self,
                          tg_error* error) noexcept {
    return guard(error, [&] { *self = new Self(host, json, sink); });
  }
  static void destroy(void* self) noexcept { delete static_cast<Self*>(self); }
  static tg_status run(void* self, const tg_stop* stop, tg_error* error) noexcept {
    return guard(error, [&] { of(self).run(Stop(stop)); });
  }
  static tg_status describe(void* self, tg_out* out) noexcept {
    return guard(nullptr, [&] { of(self).describe(Out(out)); });
  }
  static constexpr tg_discovery make() noexcept {
    tg_discovery d{};
    d.size = sizeof d;
    d.flags = flags_of<T>();
    d.create = &create;
    d.destroy = &destroy;
    d.run = &run;
    if constexpr (has_describe<T>) d.describe = &describe;
    return d;
  }
  static constexpr tg_discovery functions = make();
};

}  // namespace detail

template <class T>
constexpr tg_component discovery() noexcept {
  static_assert(detail::check_component<T>());
  static_assert(std::is_constructible_v<T, const Host&, const Config&, Sink>,
                "a discovery source is made from (tg::Host, tg::Config, tg::Sink)");
  static_assert(
      requires(T & t, Stop stop) { t.run(stop); }, "a discovery source needs: void run(tg::Stop); public");
  return detail::component<T>(TG_DISCOVERY_INTERFACE, &detail::DiscoveryCalls<T>::functions);
}

}  // namespace tg
