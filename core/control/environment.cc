#include "control/environment.h"

#include "config/document.h"
#include "config/json_schema.h"
#include "plugin/library.h"
#include "telemetry/log.h"
#include "telemetry/plugin_metrics.h"

namespace tidegate::control {
namespace log = telemetry::log;
namespace {

log::Level level_of(int level) noexcept {
  switch (level) {
    case TG_LOG_TRACE: return log::Level::trace;
    case TG_LOG_DEBUG: return log::Level::debug;
    case TG_LOG_WARN: return log::Level::warn;
    case TG_LOG_ERROR: return log::Level::error;
    default: return log::Level::info;
  }
}

}  // namespace

struct Environment::PluginTimer {
  PluginTimer(Environment& e, std::uint64_t i, std::uint64_t every, Task t, void* a)
      : environment(e), id(i), every_ms(every), task(t), argument(a) {}
  void on_timer() noexcept {
    Environment& owner = environment;  // the task may cancel this timer
    const Task run = task;
    void* with = argument;
    if (every_ms == 0)
      owner.timers_.erase(id);
    else
      owner.control_.arm(timer, every_ms);
    run(with);
  }
  Environment& environment;
  std::uint64_t id, every_ms;
  Task task;
  void* argument;
  http::Timer timer{http::Timer::of<&PluginTimer::on_timer>, this};
};

Environment::Environment(http::EventLoop& control, telemetry::MetricsRegistry& registry)
    : control_(control), registry_(registry) {}
Environment::~Environment() = default;

bool Environment::log_enabled(int level) const noexcept { return log::enabled(level_of(level)); }

void Environment::log(int level, std::string_view instance, std::string_view text,
                      std::span<const plugin::LogField> fields) noexcept {
  constexpr std::size_t most = 16;
  log::Field all[most + 1] = {{"instance", instance},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""},
                              {"", ""}};
  std::size_t count = 1;
  for (const auto& field : fields.first(std::min(fields.size(), most)))
    all[count++] = log::Field(field.key, field.value);
  log::write(level_of(level), text, std::span<const log::Field>(all, count));
}

bool Environment::post(Task task, void* argument) noexcept {
  // Acquire pairs with stop_posting's release: who is told true is run, as the loop takes its last tasks
  // after that store.
  if (stopped_.load(std::memory_order_acquire)) return false;
  control_.post([task, argument] { task(argument); });
  return true;
}

std::uint64_t Environment::start_timer(std::uint64_t first_ms, std::uint64_t every_ms, Task task,
                                       void* argument) {
  const std::uint64_t id = next_timer_++;
  auto& timer = timers_[id] = std::make_unique<PluginTimer>(*this, id, every_ms, task, argument);
  control_.arm(timer->timer, first_ms);
  return id;
}

void Environment::cancel_timer(std::uint64_t timer) noexcept { timers_.erase(timer); }

void Environment::request_rebuild() noexcept {
  if (rebuild_wanted_.exchange(true, std::memory_order_relaxed)) return;
  control_.post([this] {
    rebuild_wanted_.store(false, std::memory_order_relaxed);
    if (rebuild_) rebuild_();
  });
}

std::optional<std::string> Environment::secret(std::string_view reference) {
  auto result = config::resolve_secret(reference);
  if (!result.ok) {
    log::error("a secret can't be read", {{"reason", result.error}});
    return std::nullopt;
  }
  return result.value;
}

plugin::Outcome<std::string> Environment::prepare_config(const plugin::Component& component,
                                                         std::string json) {
  auto document = config::parse_document(json.empty() ? "{}" : json, component.name);
  const char* no_configuration = R"({"type":"object","additionalProperties":false})";
  auto checked = config::validate_against_json_schema(
      document.root, component.config_schema.empty() ? no_configuration : component.config_schema,
      component.name);
  if (!checked.diagnostics.ok()) return plugin::Refusal{checked.diagnostics.errors().front(), ""};
  return checked.json;
}

std::uint64_t Environment::define(const plugin::MetricDefinition& definition) {
  using telemetry::Kind;
  Kind kind = Kind::counter;
  if (definition.kind == plugin::MetricKind::gauge) kind = Kind::gauge;
  if (definition.kind == plugin::MetricKind::histogram) kind = Kind::histogram;
  try {
    telemetry::FamilySpec spec{definition.name, definition.help, kind, definition.bounds, 1000};
    auto& family = registry_.family(spec);
    telemetry::Leases keep;
    std::uint64_t id = 0;
    switch (kind) {
      case Kind::counter:
        id = telemetry::plugin_metric(kind, 0, registry_.counter(family, definition.labels, &keep).cell());
        break;
      case Kind::gauge:
        id = telemetry::plugin_metric(kind, 0, registry_.gauge(family, definition.labels, &keep).cell());
        break;
      case Kind::histogram: {
        const auto made = registry_.histogram(family, definition.labels, &keep);
        if (made.bounds()) id = telemetry::plugin_metric(kind, made.bounds()->id, made.first());
      }
    }
    if (id == 0) return 0;
    const std::lock_guard lock(metrics_mutex_);
    plugin_series_.emplace(id, std::move(keep));
    return id;
  } catch (const std::exception& e) {
    log::warn("a plugin's metric is refused", {{"name", definition.name}, {"reason", e.what()}});
  }
  return 0;
}

void Environment::release(std::uint64_t id) noexcept {
  telemetry::Leases gone;
  const std::lock_guard lock(metrics_mutex_);
  const auto at = plugin_series_.find(id);
  if (at == plugin_series_.end()) return;
  gone = std::move(at->second);
  plugin_series_.erase(at);
}

void Environment::add(std::uint64_t id, double value) noexcept { telemetry::add_to(id, value); }
void Environment::set(std::uint64_t id, double value) noexcept { telemetry::set_to(id, value); }
void Environment::observe(std::uint64_t id, double value) noexcept { telemetry::observe_in(id, value); }

}  // namespace tidegate::control
