// tidegate/testing/discovery_under_test.hpp - runs a discovery source and keeps what it reports.
//
// What      create on construction; run() with a stop token of the test; workers() is what the source says
// the fleet is. Threads   run() may be called on a thread of the test's own; request_stop() from any; look at
// the results afterwards. Ownership The host must outlive it. Errors    tg::Error when create or run fails.
#pragma once
#include <condition_variable>
#include <mutex>

#include "../discovery.hpp"
#include "fake_host.hpp"
#include "policy_under_test.hpp"

namespace tg::testing {

class DiscoveryUnderTest {
 public:
  DiscoveryUnderTest(FakeHost& host, const tg_plugin* plugin, std::string_view name)
      : DiscoveryUnderTest(host, PolicyUnderTest::component_of(plugin, name)) {}
  DiscoveryUnderTest(FakeHost& host, const tg_component& component) {
    if (std::string_view(component.interface_id) != TG_DISCOVERY_INTERFACE)
      throw Breach("not a tg.discovery/1 component");
    calls_ = static_cast<const tg_discovery*>(component.functions);
    sink_.base = {sizeof(tg_discovery_sink), 0, publish, upsert, remove, synced, failed};
    sink_.owner = this;
    stop_.base = {sizeof(tg_stop), 0, requested, wait_ms};
    stop_.owner = this;
    host.apply_schema(component.config_schema);
    auto error = tg::detail::sized<tg_error>();
    tg::detail::check(calls_->create(host.get(), host.config_text(), &sink_.base, &self_, &error), error,
                      "create");
  }
  DiscoveryUnderTest(const DiscoveryUnderTest&) = delete;
  DiscoveryUnderTest& operator=(const DiscoveryUnderTest&) = delete;
  ~DiscoveryUnderTest() { calls_->destroy(self_); }

  void run() {
    auto error = tg::detail::sized<tg_error>();
    tg::detail::check(calls_->run(self_, &stop_.base, &error), error, "run");
  }
  void request_stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  // Blocks until the source has said that its first list is whole.
  void wait_synced() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return synced_ > 0; });
  }
  bool is_synced() {
    std::lock_guard lock(mutex_);
    return synced_ > 0;
  }
  std::map<std::string, Worker> workers() {
    std::lock_guard lock(mutex_);
    return workers_;
  }
  int publications = 0, failures = 0;

 private:
  template <class Base>
  struct Owned {
    Base base;  // first: the handle is its address
    DiscoveryUnderTest* owner;
  };
  template <class Base>
  static DiscoveryUnderTest& of(const Base* base) noexcept {
    return *reinterpret_cast<const Owned<Base>*>(base)->owner;
  }
  static Worker copy(const tg_worker_desc& d) {
    Worker w;
    w.id = view(d.id), w.url = view(d.url), w.zone = view(d.zone);
    w.secret_ref = view(d.secret_ref), w.health_path = view(d.health_path);
    for (uint32_t i = 0; i < d.model_count; ++i) w.models.emplace_back(view(d.models[i]));
    for (uint32_t i = 0; i < d.label_count; ++i)
      w.labels.emplace_back(view(d.labels[i].key), view(d.labels[i].value));
    w.role = d.role, w.weight_milli = d.weight_milli ? d.weight_milli : 1000,
    w.bootstrap_port = d.bootstrap_port;
    w.max_running = d.max_running, w.block_tokens = d.block_tokens, w.ttl_ms = d.ttl_ms,
    w.kv_blocks = d.kv_blocks;
    w.draining = d.draining != 0;
    return w;
  }
  static tg_status publish(tg_discovery_sink* s, const tg_worker_desc* descs, uint32_t count, uint32_t stride,
                           tg_error* e) noexcept {
    auto& t = of(s);
    std::lock_guard lock(t.mutex_);
    std::map<std::string, Worker> all;
    for (uint32_t i = 0; i < count; ++i) {
      auto& d =
          *reinterpret_cast<const tg_worker_desc*>(reinterpret_cast<const char*>(descs) + size_t{i} * stride);
      if (d.id.len == 0 || d.url.len == 0 || all.count(std::string(view(d.id))))
        return tg::detail::fail(e, TG_E_INVALID, "", "a worker needs an id of its own and a url");
      all.emplace(view(d.id), copy(d));
    }
    ++t.publications, t.workers_ = std::move(all);
    return t.stopped_ ? TG_E_CANCELLED : TG_OK;
  }
  static tg_status upsert(tg_discovery_sink* s, const tg_worker_desc* d, tg_error*) noexcept {
    auto& t = of(s);
    std::lock_guard lock(t.mutex_);
    t.workers_[std::string(view(d->id))] = copy(*d);
    return t.stopped_ ? TG_E_CANCELLED : TG_OK;
  }
  static tg_status remove(tg_discovery_sink* s, tg_str id, tg_str, tg_error*) noexcept {
    auto& t = of(s);
    std::lock_guard lock(t.mutex_);
    t.workers_.erase(std::string(view(id)));
    return t.stopped_ ? TG_E_CANCELLED : TG_OK;
  }
  static void synced(tg_discovery_sink* s) noexcept {
    std::lock_guard lock(of(s).mutex_);
    ++of(s).synced_, of(s).changed_.notify_all();
  }
  static void failed(tg_discovery_sink* s, tg_status, tg_str) noexcept { ++of(s).failures; }
  static bool requested(const tg_stop* s) noexcept {
    std::lock_guard lock(of(s).mutex_);
    return of(s).stopped_;
  }
  static bool wait_ms(const tg_stop* s, uint32_t ms) noexcept {
    std::unique_lock lock(of(s).mutex_);
    return of(s).changed_.wait_for(lock, std::chrono::milliseconds(ms), [&] { return of(s).stopped_; });
  }

  const tg_discovery* calls_;
  void* self_ = nullptr;
  Owned<tg_discovery_sink> sink_;
  Owned<tg_stop> stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Worker> workers_;
  int synced_ = 0;
  bool stopped_ = false;
};

}  // namespace tg::testing
