// How workers come and go: discovery sources, resolution of their addresses, health verdicts.
#include <algorithm>
#include <utility>

#include "config/json_schema.h"
#include "control/gateway.h"
#include "telemetry/log.h"

namespace tidegate::control {
namespace log = telemetry::log;
namespace {

constexpr std::uint32_t retire_poll_ms = 50;

fleet::WorkerSpec spec_of(const std::string& source, plugin::WorkerDesc&& desc) {
  fleet::WorkerSpec spec;
  spec.source = source;
  spec.id = std::move(desc.id);
  spec.url = std::move(desc.url);
  spec.zone = std::move(desc.zone);
  spec.secret_ref = std::move(desc.secret_ref);
  spec.health_path = std::move(desc.health_path);
  spec.models = std::move(desc.models);
  spec.labels = std::move(desc.labels);
  spec.role = desc.role;
  spec.weight_milli = desc.weight_milli;
  spec.bootstrap_port = desc.bootstrap_port;
  spec.max_running = desc.max_running;
  spec.block_tokens = desc.block_tokens;
  spec.kv_blocks = desc.kv_blocks;
  spec.draining = desc.draining;
  return spec;
}

}  // namespace

// New sources start before old ones stop, so that a source that only changed its settings never leaves a gap;
// one that is wrong leaves everything as it was.
std::vector<std::string> Gateway::apply_sources(const config::Config& config) {
  std::vector<std::string> errors;
  std::map<std::string, Source> next;
  for (const auto& wanted : config.discovery) {
    auto fail = [&](const std::string& text) {
      const std::string where = wanted.source.where.to_string();
      errors.push_back((where.empty() ? "" : where + ": ") + wanted.source.path + ": " + text);
    };
    auto component = registry_.find(TG_DISCOVERY_INTERFACE, wanted.source.plugin);
    if (!component) {
      fail(component.refusal().text);
      continue;
    }
    auto checked = config::validate_against_json_schema(
        wanted.source.config,
        (*component)->config_schema.empty() ? R"({"type":"object","additionalProperties":false})"
                                            : (*component)->config_schema,
        wanted.source.path);
    if (!checked.diagnostics.ok()) {
      for (const auto& error : checked.diagnostics.errors()) errors.push_back(error);
      continue;
    }
    auto old = sources_.find(wanted.name);
    if (old != sources_.end() && old->second.component == *component &&
        old->second.config_json == checked.json) {
      next[wanted.name] = std::move(old->second);
      continue;
    }
    auto runner = plugin::DiscoveryRunner::create(
        **component, wanted.name, config::to_json(wanted.source.config), environment_, *this, {});
    if (!runner) {
      fail(runner.refusal().text);
      continue;
    }
    next[wanted.name] = {std::move(*runner), *component, checked.json, false};
  }
  if (!errors.empty()) {
    for (auto& [name, source] : next)  // give back what was kept
      if (auto old = sources_.find(name); old != sources_.end() && !old->second.runner)
        old->second = std::move(source);
    return errors;
  }
  for (auto& [name, old] : sources_) {
    if (old.runner) retire(std::move(old.runner));
    if (!next.contains(name)) {
      dropping_.insert(name);
      heard_.erase(name);
    }
  }
  for (const auto& [name, source] : next) dropping_.erase(name);
  std::swap(sources_, next);
  std::uint32_t silent = 0;
  for (auto& [name, source] : sources_) {
    silent += !heard_.contains(name);
    if (!std::exchange(source.started, true)) source.runner->start();
  }
  silent_sources_.store(silent, std::memory_order_relaxed);
  drop_old_sources();
  return {};
}

// The workers of sources that are configured no longer go once every new source has spoken (or failed), so
// that a change of sources leaves no moment without workers.
void Gateway::drop_old_sources() {
  if (silent_sources_.load(std::memory_order_relaxed) > 0) return;
  for (const auto& name : dropping_) {
    fleet_->drop_source(name, "its source is no longer configured");
    source_metrics_.erase(name);
  }
  dropping_.clear();
}

// Its thread may take seconds to end; the control thread doesn't wait for it. One timer at a time looks at
// all of them and holds none: stop_threads() may have taken them away before it fires.
void Gateway::retire(std::unique_ptr<plugin::DiscoveryRunner> runner) {
  runner->request_stop();
  retiring_.push_back(std::move(runner));
  if (retiring_.size() > 1) return;  // the timer is armed
  struct Poll {
    static void later(Gateway& gateway) {
      gateway.environment_.start_timer(
          retire_poll_ms, 0,
          [](void* argument) {
            auto& self = *static_cast<Gateway*>(argument);
            std::erase_if(self.retiring_, [](const auto& r) { return r->ended() || r->overdue(); });
            if (!self.retiring_.empty()) later(self);
          },
          &gateway);
    }
  };
  Poll::later(*this);
}

const telemetry::DiscoveryMetrics& Gateway::source_metrics(const std::string& source) {
  auto& known = source_metrics_[source];
  if (!known) known = metrics_.discovery(source);
  return *known;
}

void Gateway::note_source(const std::string& source, bool update) {
  const auto& metrics = source_metrics(source);
  metrics.workers.set(static_cast<double>(fleet_->count(source)));
  if (!update) return;
  metrics.updates.add();
  metrics.healthy.set(1);
  metrics.last_success_timestamp.set(static_cast<double>(environment_.unix_ms()) / 1000);
}

void Gateway::source_heard(const std::string& source) {
  control_.post([this, source] {
    if (!sources_.contains(source) || !heard_.insert(source).second) return;
    silent_sources_.fetch_sub(1, std::memory_order_relaxed);
    drop_old_sources();
  });
}

// [runner] Names are resolved here, where blocking is allowed.
void Gateway::on_publish(const std::string& source, std::vector<plugin::WorkerDesc> workers,
                         bool allow_empty) {
  std::vector<fleet::ResolvedSpec> resolved;
  for (auto& desc : workers) {
    try {
      auto endpoint = fleet::resolve(desc.url);
      resolved.push_back({spec_of(source, std::move(desc)), std::move(endpoint)});
    } catch (const std::exception& e) {
      log::error("a worker is left out", {{"source", source}, {"reason", e.what()}});
    }
  }
  control_.post([this, source, allow_empty, resolved = std::move(resolved)]() mutable {
    if (!fleet_) return;
    auto text = fleet_->publish(source, std::move(resolved), allow_empty, control_.now_ms());
    if (!text.empty())
      log::error("a list of workers is not taken over", {{"source", source}, {"reason", text}});
    note_source(source, true);
  });
}

void Gateway::on_upsert(const std::string& source, plugin::WorkerDesc desc) {
  try {
    auto endpoint = fleet::resolve(desc.url);
    control_.post([this, resolved = fleet::ResolvedSpec{spec_of(source, std::move(desc)),
                                                        std::move(endpoint)}]() mutable {
      if (!fleet_) return;
      const std::string name = resolved.spec.source;
      if (auto text = fleet_->upsert(std::move(resolved)); !text.empty()) log::error(text);
      note_source(name, true);
    });
  } catch (const std::exception& e) {
    log::error("a worker is left out", {{"source", source}, {"reason", e.what()}});
  }
}

void Gateway::on_remove(const std::string& source, std::string id, std::string reason) {
  control_.post([this, source, id = std::move(id), reason = std::move(reason)] {
    if (!fleet_) return;
    fleet_->remove(source, id, reason);
    note_source(source, true);
  });
}

void Gateway::on_synced(const std::string& source) { source_heard(source); }

void Gateway::on_failed(const std::string& source, std::string text) {
  log::warn("a discovery source has failed; its last good list stays",
            {{"source", source}, {"reason", text}});
  control_.post([this, source] {
    source_metrics(source).failures.add();
    source_metrics(source).healthy.set(0);
  });
  source_heard(source);
}

void Gateway::on_worker_added(const fleet::WorkerPtr& worker) {
  log::info("worker added", {{"worker", worker->spec().id},
                             {"source", worker->spec().source},
                             {"url", worker->spec().url},
                             {"role", fleet::role_name(worker->spec().role)}});
  if (health_ && !worker->spec().draining) health_->add(worker);
}

void Gateway::on_worker_removed(const fleet::WorkerPtr& worker, std::string_view reason) {
  log::info("worker removed",
            {{"worker", worker->spec().id}, {"source", worker->spec().source}, {"reason", reason}});
  if (health_) health_->forget(*worker);
}

void Gateway::on_membership_changed() { publisher_->changed(); }

void Gateway::on_verdict(const fleet::WorkerPtr& worker, bool healthy, std::string_view reason) {
  if (worker->state() == TG_WORKER_DRAINING) return;
  if (!fleet_->set_state(*worker, healthy ? TG_WORKER_READY : TG_WORKER_UNHEALTHY)) return;
  log::write(healthy ? log::Level::info : log::Level::warn,
             healthy ? "worker is ready" : "worker is unhealthy",
             {{"worker", worker->spec().id}, {"source", worker->spec().source}, {"reason", reason}});
}

}  // namespace tidegate::control
