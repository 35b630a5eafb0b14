// What: the gateway as its plugins' hosts see it: log, metrics, control thread, timers, secrets, checked
// configuration. Threads: as plugin/environment.h says. Ownership: borrows the control loop and the metrics
// registry, which outlive it. Errors: as plugin/environment.h says.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "http/event_loop.h"
#include "plugin/environment.h"
#include "telemetry/registry.h"

namespace tidegate::control {

class Environment final : public plugin::HostEnvironment, private plugin::MetricSink {
 public:
  Environment(http::EventLoop& control, telemetry::MetricsRegistry& registry);
  ~Environment() override;

  void on_rebuild(std::function<void()> rebuild) { rebuild_ = std::move(rebuild); }
  void set_call_budget(std::uint64_t ns) noexcept { call_budget_ns_ = ns; }  // of instances made from now on
  void stop_posting() noexcept { stopped_.store(true, std::memory_order_release); }

  bool log_enabled(int level) const noexcept override;
  void log(int level, std::string_view instance, std::string_view text,
           std::span<const plugin::LogField> fields) noexcept override;
  plugin::MetricSink& metrics() noexcept override { return *this; }
  bool post(Task task, void* argument) noexcept override;
  std::uint64_t start_timer(std::uint64_t first_ms, std::uint64_t every_ms, Task task,
                            void* argument) override;
  void cancel_timer(std::uint64_t timer) noexcept override;
  bool on_control_thread() const noexcept override { return control_.in_loop_thread(); }
  void request_rebuild() noexcept override;
  std::uint64_t call_budget_ns() const noexcept override { return call_budget_ns_; }
  std::optional<std::string> secret(std::string_view reference) override;
  plugin::Outcome<std::string> prepare_config(const plugin::Component& component,
                                              std::string config) override;

 private:
  struct PluginTimer;
  std::uint64_t define(const plugin::MetricDefinition& definition) override;
  void release(std::uint64_t id) noexcept override;
  void add(std::uint64_t id, double value) noexcept override;
  void set(std::uint64_t id, double value) noexcept override;
  void observe(std::uint64_t id, double value) noexcept override;

  http::EventLoop& control_;
  telemetry::MetricsRegistry& registry_;
  std::function<void()> rebuild_;
  std::atomic<bool> stopped_{false}, rebuild_wanted_{false};
  std::map<std::uint64_t, std::unique_ptr<PluginTimer>> timers_;
  std::uint64_t next_timer_ = 1;
  std::uint64_t call_budget_ns_ = 1'000'000;  // control thread
  std::mutex metrics_mutex_;
  std::multimap<std::uint64_t, telemetry::Leases> plugin_series_;  // one a define()
};

}  // namespace tidegate::control
