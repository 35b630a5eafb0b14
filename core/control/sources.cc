#include "control/sources.h"

#include <utility>

#include "control/addresses.h"
#include "control/plugin_section.h"
#include "telemetry/log.h"

namespace tidegate::control {
namespace log = telemetry::log;

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
  spec.ttl_ms = desc.ttl_ms;
  spec.kv_blocks = desc.kv_blocks;
  spec.draining = desc.draining;
  return spec;
}

// What one runner says. The generation tells it from an earlier or later runner of the same name: a list that
// was on its way when its source was exchanged would bring back workers that are gone.
class Sources::Ear final : public plugin::DiscoveryListener {
 public:
  Ear(Sources& owner, std::uint64_t generation) : owner_(owner), generation_(generation) {}

 private:
  // Names are resolved here, on the runner's thread, where blocking is allowed.
  void on_publish(const std::string& source, std::vector<plugin::WorkerDesc> workers,
                  bool allow_empty) override {
    std::vector<fleet::ResolvedSpec> reached;
    for (auto& desc : workers) reached.push_back(reach(spec_of(source, std::move(desc))));
    post(source, [source, allow_empty, reached = std::move(reached)](Sources& owner) mutable {
      auto text = owner.fleet_.publish(source, std::move(reached), allow_empty, owner.control_.now_ms());
      if (!text.empty())
        log::error("a list of workers is not in force as a whole", {{"source", source}, {"reason", text}});
      owner.note(source);
    });
  }
  void on_upsert(const std::string& source, plugin::WorkerDesc desc) override {
    post(source, [source, reached = reach(spec_of(source, std::move(desc)))](Sources& owner) mutable {
      if (auto text = owner.fleet_.upsert(std::move(reached), owner.control_.now_ms()); !text.empty())
        log::error("a worker is not in force as its source says", {{"source", source}, {"reason", text}});
      owner.note(source);
    });
  }
  void on_remove(const std::string& source, std::string id, std::string reason) override {
    post(source, [source, id = std::move(id), reason = std::move(reason)](Sources& owner) {
      owner.fleet_.remove(source, id, reason);
      owner.note(source);
    });
  }
  void on_synced(const std::string& source) override {
    post(source, [source](Sources& owner) { owner.heard(source); });
  }
  void on_failed(const std::string& source, std::string) override {  // the runner has logged it
    post(source, [source](Sources& owner) {
      owner.metrics_of(source).failures.add();
      owner.metrics_of(source).healthy.set(0);
      owner.heard(source);
    });
  }

  template <class Work>
  void post(const std::string& source, Work work) {
    owner_.control_.post(
        [&owner = owner_, source, generation = generation_, work = std::move(work)]() mutable {
          if (owner.current(source, generation)) work(owner);
        });
  }

  Sources& owner_;
  const std::uint64_t generation_;
};

struct Sources::Source {
  std::unique_ptr<Ear> ear;
  std::unique_ptr<plugin::DiscoveryRunner> runner;  // ends before its ear
  const plugin::Component* component = nullptr;
  std::string config_json;
  std::uint64_t generation = 0;
};

struct Sources::Plan {
  std::map<std::string, Source> fresh;
  std::set<std::string> kept;
};

Sources::Sources(http::EventLoop& control, plugin::Registry& registry, Environment& environment,
                 fleet::Fleet& fleet, telemetry::GatewayMetrics& metrics)
    : control_(control), registry_(registry), environment_(environment), fleet_(fleet), metrics_(metrics) {}

Sources::~Sources() = default;

void Sources::make(const config::DiscoveryConfig& wanted, Plan& plan, std::vector<std::string>& errors) {
  auto component = registry_.find(TG_DISCOVERY_INTERFACE, wanted.source.plugin);
  if (!component) {
    errors.push_back(refusal_line(wanted.source, component.refusal()));
    return;
  }
  auto json = checked_section(wanted.source, **component, errors);
  if (!json) return;
  const auto old = sources_.find(wanted.name);
  if (old != sources_.end() && old->second.component == *component && old->second.config_json == *json) {
    plan.kept.insert(wanted.name);
    return;
  }
  Source fresh{.component = *component, .config_json = *json, .generation = ++generation_};
  fresh.ear = std::make_unique<Ear>(*this, fresh.generation);
  auto runner = plugin::DiscoveryRunner::create(
      **component, wanted.name, config::to_json(wanted.source.config), environment_, *fresh.ear, {});
  if (!runner) {
    errors.push_back(refusal_line(wanted.source, runner.refusal()));
    return;
  }
  fresh.runner = std::move(*runner);
  plan.fresh[wanted.name] = std::move(fresh);
}

std::shared_ptr<Sources::Plan> Sources::prepare(const config::Config& config,
                                                std::vector<std::string>& errors) {
  const std::size_t before = errors.size();
  auto plan = std::make_shared<Plan>();
  for (const auto& wanted : config.discovery) make(wanted, *plan, errors);
  return errors.size() == before ? plan : nullptr;
}

// An old source's thread may take seconds to end; the control thread does not wait for it.
void Sources::commit(Plan& plan) {
  for (auto at = sources_.begin(); at != sources_.end();) {
    const auto next = std::next(at);
    const std::string& name = at->first;
    if (!plan.kept.contains(name)) {
      at->second.runner->request_stop();
      retiring_.push_back(std::move(at->second));
      if (!plan.fresh.contains(name)) {
        dropping_.insert(name);
        heard_.erase(name);
      }
      sources_.erase(at);
    }
    at = next;
  }
  for (auto& [name, source] : plan.fresh) {
    source.runner->start();
    sources_[name] = std::move(source);
  }
  plan.fresh.clear();
  std::uint32_t silent = 0;
  for (const auto& [name, source] : sources_) {
    dropping_.erase(name);
    silent += !heard_.contains(name);
  }
  silent_.store(silent, std::memory_order_relaxed);
  drop_old();
  control_.arm(tick_, tick_ms);
}

void Sources::stop() {
  tick_.disarm();
  for (auto& [name, source] : sources_) source.runner->request_stop();
  sources_.clear();
  retiring_.clear();
  source_metrics_.clear();
}

bool Sources::current(const std::string& source, std::uint64_t generation) const {
  const auto at = sources_.find(source);
  return at != sources_.end() && at->second.generation == generation;
}

// The workers of sources that are configured no longer go once every new source has spoken (or failed), so
// that a change of sources leaves no moment without workers.
void Sources::drop_old() {
  if (silent()) return;
  for (const auto& name : dropping_) {
    fleet_.drop_source(name, "its source is no longer configured");
    source_metrics_.erase(name);
  }
  dropping_.clear();
}

void Sources::heard(const std::string& source) {
  if (!heard_.insert(source).second) return;
  silent_.fetch_sub(1, std::memory_order_relaxed);
  drop_old();
}

const telemetry::DiscoveryMetrics& Sources::metrics_of(const std::string& source) {
  auto& known = source_metrics_[source];
  if (!known) known = metrics_.discovery(source);
  return *known;
}

void Sources::note(const std::string& source) {
  const auto& metrics = metrics_of(source);
  metrics.workers.set(static_cast<double>(fleet_.count(source)));
  metrics.updates.add();
  metrics.healthy.set(1);
  metrics.last_success_timestamp.set(static_cast<double>(environment_.unix_ms()) / 1000);
}

void Sources::on_tick() noexcept {
  control_.arm(tick_, tick_ms);
  std::erase_if(retiring_, [](const Source& source) { return source.runner->ended(); });
  fleet_.tick(control_.now_ms());
  for (const auto& [name, metrics] : source_metrics_)
    metrics->workers.set(static_cast<double>(fleet_.count(name)));
}

std::vector<Sources::Listed> Sources::list() const {
  std::vector<Listed> all;
  for (const auto& [name, source] : sources_)
    all.push_back({name, source.component->name, fleet_.count(name)});
  return all;
}

}  // namespace tidegate::control
