// What: all that plugins' hosts ask of the gateway. The gateway implements it once; a test fakes
//   it.
// Threads: each function names its own, in the words of tidegate/abi.h.
// Ownership: outlives every host, policy and discovery source made with it. Arguments are copied
//   before return.
// Errors: nothing throws but prepare_config and secret, which are [control].
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/outcome.h"

namespace tidegate::plugin {

struct Component;

struct LogField {
  std::string_view key, value;
};

enum class MetricKind { counter, gauge, histogram };

struct MetricDefinition {
  MetricKind kind = MetricKind::counter;
  std::string name;  // whole, prefix included
  std::string help;
  std::vector<std::pair<std::string, std::string>> labels;  // `instance` included
  std::vector<double> bounds;                               // histogram: ascending upper bounds
};

// Where plugins' numbers go. Ids are the sink's; 0 is "none", accepted and ignored everywhere.
class MetricSink {
 public:
  virtual ~MetricSink() = default;
  virtual std::uint64_t define(
      const MetricDefinition&) = 0;  // [control] same definition, same id; 0: refused
  // [control] What define() gave is used no more. Called once for each define(); the series goes with the
  // last.
  virtual void release(std::uint64_t) noexcept {}
  virtual void add(std::uint64_t id, double value) noexcept = 0;      // [any] hot
  virtual void set(std::uint64_t id, double value) noexcept = 0;      // [any] hot
  virtual void observe(std::uint64_t id, double value) noexcept = 0;  // [any] hot
};

class HostEnvironment {
 public:
  using Task = void (*)(void*);
  virtual ~HostEnvironment() = default;

  // [any] never block; level is TG_LOG_*.
  virtual bool log_enabled(int level) const noexcept = 0;
  virtual void log(int level, std::string_view instance, std::string_view text,
                   std::span<const LogField> fields) noexcept = 0;

  virtual MetricSink& metrics() noexcept = 0;  // [any]

  // [any] The task runs once on the control thread. False: that thread has ended, the task will not run.
  virtual bool post(Task, void* argument) noexcept = 0;
  // [control] Id is never 0. After cancel_timer() the task does not run. every_ms 0: once.
  virtual std::uint64_t start_timer(std::uint64_t first_ms, std::uint64_t every_ms, Task, void* argument) = 0;
  virtual void cancel_timer(std::uint64_t timer) noexcept = 0;
  virtual bool on_control_thread() const noexcept = 0;  // [any]

  virtual void request_rebuild() noexcept = 0;                                // [any] many become one
  virtual std::optional<std::string> secret(std::string_view reference) = 0;  // [control]

  // [control] Checks a component's configuration (JSON text) against its schema and fills the defaults in. As
  // it stands here nothing is checked.
  virtual Outcome<std::string> prepare_config(const Component&, std::string config) { return config; }

  // [any] hot. As they stand here: the system's clocks, and a xoshiro256** generator for each thread.
  virtual std::uint64_t monotonic_ns() noexcept;
  virtual std::uint64_t unix_ms() noexcept;
  virtual std::uint64_t random() noexcept;

  // [control] What a [request] call may take, unless an instance's limits say otherwise.
  virtual std::uint64_t call_budget_ns() const noexcept { return 1'000'000; }
};

}  // namespace tidegate::plugin
