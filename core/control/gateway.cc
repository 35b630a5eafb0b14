// Life of the gateway: start, reload, drain. What it answers itself stands in gateway_backend.cc, how workers
// come in sources.cc.
#include "control/gateway.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <future>

#include <Poco/Exception.h>
#include <Poco/Net/ServerSocket.h>

#include "telemetry/log.h"

#ifndef TIDEGATE_VERSION
#  define TIDEGATE_VERSION "0.1.0"
#endif

namespace tidegate::control {
namespace log = telemetry::log;

struct Gateway::Admin {
  Admin(Gateway& gateway, http::BodyBudget& budget)
      : control_service(gateway, Surface::control),
        metrics_service(gateway, Surface::metrics),
        control_set(loop, control_service, budget),
        metrics_set(loop, metrics_service, budget),
        control_listener(loop, control_set),
        metrics_listener(loop, metrics_set) {}
  ~Admin() {
    loop.stop();
    if (thread.joinable()) thread.join();
  }
  http::EventLoop loop;
  LocalService control_service, metrics_service;
  http::ConnectionSet control_set, metrics_set;
  http::Listener control_listener, metrics_listener;
  std::thread thread;
};

namespace {

plugin::Registry::Options registry_options(const config::Config& config, const std::string& packaged) {
  return {config.plugins.path, packaged, config.plugins.allow_draft};
}

plugin::Watchdog::Options watchdog_options(const config::Config& config) {
  plugin::Watchdog::Options options;
  options.slow_ns = static_cast<std::uint64_t>(config.plugins.slow_call.count()) * 1'000'000;
  options.stalled_ns = static_cast<std::uint64_t>(config.plugins.stalled.count()) * 1'000'000;
  return options;
}

// Poco's what() is the name of the exception's class.
std::string reason(const std::exception& e) {
  const auto* poco = dynamic_cast<const Poco::Exception*>(&e);
  return poco ? poco->displayText() : e.what();
}

// The loops' own listeners share their port (SO_REUSEPORT), and would share it with another gateway of the
// same user just as silently: half of the requests would go astray. So the address is first bound alone.
std::string taken(const config::Address& address) {
  if (address.port == 0) return {};
  try {
    Poco::Net::ServerSocket probe;
    probe.bind(Poco::Net::SocketAddress(address.host, address.port), true, false);
    return {};
  } catch (const std::exception& e) {
    return "can't listen on " + address.to_string() + ": " + reason(e) + "; is another process there?";
  }
}

std::uint64_t call_budget_ns(const config::Config& config) {
  return static_cast<std::uint64_t>(config.plugins.call_budget.count()) * 1'000'000;
}

// What takes effect with a restart only stays as it is; returns its names.
std::string keep_until_restart(const config::Config& now, config::Config& wanted) {
  std::string names;
  auto keep = [&names](const char* name, const auto& running, auto& value) {
    if (value == running) return;
    value = running;
    names += (names.empty() ? "" : ", ") + std::string(name);
  };
  keep("server.listen", now.server.listen, wanted.server.listen);
  keep("server.threads", now.server.threads, wanted.server.threads);
  keep("control.listen", now.control.listen, wanted.control.listen);
  keep("metrics.listen", now.metrics.listen, wanted.metrics.listen);
  keep("log.access", now.log.access, wanted.log.access);
  keep("plugins.slow_call", now.plugins.slow_call, wanted.plugins.slow_call);
  keep("plugins.stalled", now.plugins.stalled, wanted.plugins.stalled);
  return names;
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

telemetry::BuildInfo build_info() { return {TIDEGATE_VERSION, "unknown", __VERSION__}; }

}  // namespace

Gateway::Gateway(config::Config config, std::string packaged)
    : config_(std::move(config)),
      packaged_(std::move(packaged)),
      metrics_(metrics_registry_, build_info()),
      environment_(control_, metrics_registry_),
      watchdog_(environment_, watchdog_options(config_)),
      registry_(registry_options(config_, packaged_), &environment_),
      budget_(config_.server.body_budget) {
  auto& listener = static_cast<fleet::FleetListener&>(*this);
  fleet_ = std::make_unique<fleet::Fleet>(slots_, listener, [this](const fleet::WorkerSpec& spec) {
    return metrics_.worker(spec.source + "/" + spec.id);
  });
  sources_ = std::make_unique<Sources>(control_, registry_, environment_, *fleet_, metrics_);
  addresses_ = std::make_unique<Addresses>(control_, *fleet_);
  publisher_ = std::make_unique<Publisher>(control_, hub_, *fleet_, registry_, environment_, metrics_);
  environment_.set_call_budget(call_budget_ns(config_));
  environment_.on_rebuild([this] { publisher_->changed(); });
}

Gateway::~Gateway() { stop_threads(); }

void Gateway::run_on_control(std::function<void()> work) {
  std::promise<void> done;
  control_.post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

std::vector<std::string> Gateway::start() {
  if (config_.log.access != "off") {
    telemetry::AccessLogOptions options;
    options.path = config_.log.access;
    try {
      access_log_ = std::make_unique<telemetry::AccessLog>(options);
    } catch (const std::exception& e) {
      return {std::string("log.access: ") + e.what()};
    }
  }
  token_ = config_.control.token.reveal();
  blocking_ = std::make_unique<BlockingPool>(2);
  names_ = std::make_unique<BlockingPool>(1);
  watchdog_.start();
  control_thread_ = std::thread([this] {
    telemetry::Cells::attach_thread();
    control_.run();
  });
  std::vector<std::string> errors;
  run_on_control([&] {
    apply_health(config_);
    errors = apply_all(config_);
  });
  if (!errors.empty()) return errors;
  if (auto text = taken(config_.server.listen); !text.empty()) return {"server.listen: " + text};
  IoShared shared{hub_, environment_, metrics_, access_log_.get(), budget_, *this, cap_};
  std::uint16_t port = config_.server.listen.port;
  const std::uint32_t threads = config::effective_threads(config_.server);
  try {
    for (std::uint32_t i = 0; i < threads; ++i) {
      threads_.push_back(std::make_unique<IoThread>(i, config_, shared, port));
      port = threads_.front()->port();
    }
  } catch (const std::exception& e) {
    return {"server.listen: can't listen on " + config_.server.listen.to_string() + ": " + reason(e) +
            "; is another process there?"};
  }
  errors = start_admin();
  if (!errors.empty()) return errors;
  for (auto& thread : threads_) thread->start();
  metrics_.loaded(unix_seconds());
  watch_fleet();
  return {};
}

// Live numbers are read where they stand when somebody scrapes.
void Gateway::watch_fleet() {
  auto each = [this](auto value) {
    return [this, value](const telemetry::GatewayMetrics::Emit& emit) {
      const auto view = hub_.current();
      if (!view) return;
      for (const auto& worker : view->members().workers())
        emit({{"worker", worker->spec().source + "/" + worker->spec().id}},
             static_cast<double>(value(*worker)));
    };
  };
  if (const auto* access = access_log_.get()) {
    auto lines = [&](const char* name, const char* help, auto count) {
      metrics_.watch_number(
          name, help, telemetry::Kind::counter,
          [access, count] { return static_cast<double>((access->*count)()); }, &leases_);
    };
    using Log = telemetry::AccessLog;
    lines("access_log_lines_total", "Lines of the access log written", &Log::written);
    lines("access_log_lines_dropped_total", "Lines of the access log lost to a full ring", &Log::dropped);
    lines("access_log_lines_failed_total", "Lines of the access log that could not be written", &Log::failed);
  }
  metrics_.watch_worker_inflight(each([](const fleet::Worker& w) { return tg_live_get(&w.live().inflight); }),
                                 &leases_);
  metrics_.watch_worker_state(each([](const fleet::Worker& w) { return w.state(); }), &leases_);
}

std::vector<std::string> Gateway::start_admin() {
  admin_ = std::make_unique<Admin>(*this, budget_);
  auto open = [](http::Listener& listener, const config::Address& address, const char* what) -> std::string {
    if (address.off) return {};
    try {
      listener.open(Poco::Net::SocketAddress(address.host, address.port));
      return {};
    } catch (const std::exception& e) {
      return std::string(what) + ": can't listen on " + address.to_string() + ": " + reason(e) +
             "; is another process there? 'off' turns this listener off";
    }
  };
  std::vector<std::string> errors;
  // The same address as the data port means: served there.
  if (!(config_.control.listen == config_.server.listen))
    if (auto text = open(admin_->control_listener, config_.control.listen, "control.listen"); !text.empty())
      errors.push_back(text);
  if (auto text = open(admin_->metrics_listener, config_.metrics.listen, "metrics.listen"); !text.empty())
    errors.push_back(text);
  if (errors.empty()) admin_->thread = std::thread([this] { admin_->loop.run(); });
  return errors;
}

std::uint16_t Gateway::control_port() const noexcept {
  return admin_ && admin_->control_listener.is_open() ? admin_->control_listener.port() : port();
}

std::uint16_t Gateway::metrics_port() const noexcept {
  return admin_ && admin_->metrics_listener.is_open() ? admin_->metrics_listener.port() : 0;
}

// All or nothing: everything is made beside what is in force, then put in force.
std::vector<std::string> Gateway::apply_all(const config::Config& config) {
  std::vector<std::string> errors;
  auto graph = publisher_->prepare(config, errors);
  auto sources = sources_->prepare(config, errors);
  if (!errors.empty()) return errors;
  addresses_->set_interval(static_cast<std::uint32_t>(config.upstream.resolve_interval.count()));
  sources_->commit(*sources);
  publisher_->commit(std::move(graph));
  return {};
}

std::vector<std::string> Gateway::reload(config::Config config) {
  std::vector<std::string> errors;
  run_on_control([&] {
    registry_.rescan(registry_options(config, packaged_));
    environment_.set_call_budget(call_budget_ns(config));
    errors = apply_all(config);
    if (!errors.empty()) {
      environment_.set_call_budget(call_budget_ns(config_));
      return registry_.search(registry_options(config_, packaged_));
    }
    if (auto names = keep_until_restart(config_, config); !names.empty())
      log::warn("some changes take effect with a restart only", {{"keys", names}});
    apply_health(config);
    for (auto& thread : threads_) thread->apply(config);
    budget_.set_limit(config.server.body_budget);
    {
      std::lock_guard lock(token_mutex_);
      token_ = config.control.token.reveal();
    }
    config_ = std::move(config);
  });
  metrics_.reload_done(errors.empty(), unix_seconds());
  return errors;
}

void Gateway::reopen_logs() {
  if (access_log_) access_log_->reopen();
}

void Gateway::apply_health(const config::Config& config) {
  fleet::HealthOptions options;
  options.enabled = config.health.enabled;
  options.path = config.health.path;
  options.interval_ms = static_cast<std::uint32_t>(config.health.interval.count());
  options.timeout_ms = static_cast<std::uint32_t>(config.health.timeout.count());
  options.failures = config.health.failures;
  options.successes = config.health.successes;
  options.concurrency = config.health.concurrency;
  if (health_ && options.enabled == config_.health.enabled) return health_->set_options(options);
  health_ = std::make_unique<fleet::HealthChecker>(
      control_, options,
      [this](const fleet::WorkerPtr& worker, bool healthy, std::string_view reason) {
        on_verdict(worker, healthy, reason);
      },
      [](const fleet::Worker& worker, bool good) {
        if (!good && worker.metrics())
          worker.metrics()->errors[static_cast<std::size_t>(telemetry::WorkerError::health)].add();
      });
  for (const auto& worker : fleet_->workers()) health_->add(worker);
}

void Gateway::drain() {
  draining_.store(true, std::memory_order_relaxed);
  const auto limit = config_.server.drain;
  log::info("draining", {{"limit_ms", limit.count()}});
  // Readiness has fallen; whoever balances over gateways gets a moment to see it before connections are
  // refused.
  std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(std::chrono::milliseconds(500), limit / 4));
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t left = threads_.size();
  for (auto& thread : threads_)
    thread->drain([&] {
      std::lock_guard lock(mutex);
      --left;
      changed.notify_all();
    });
  std::unique_lock lock(mutex);
  if (!changed.wait_for(lock, limit, [&] { return left == 0; })) {
    log::warn("the drain's time is up: open requests are ended", {{"limit_ms", limit.count()}});
    for (auto& thread : threads_) thread->force_close();
    // What was said last may still be on its way to slow clients.
    changed.wait_for(lock, std::chrono::seconds(2), [&] { return left == 0; });
  }
  lock.unlock();
  stop_threads();
}

// The order matters: who may call whom ends last. I/O threads use everything; runners post to control; the
// control thread destroys what others let go of.
void Gateway::stop_threads() {
  for (auto& thread : threads_) thread->stop();
  for (auto& thread : threads_) thread->join();
  admin_.reset();
  leases_.clear();
  if (!control_thread_.joinable()) return;
  run_on_control([this] {
    sources_->stop();
    addresses_->stop();
  });
  blocking_.reset();
  names_.reset();
  run_on_control([this] {
    threads_.clear();
    health_.reset();
    hub_.publish(nullptr);
    publisher_.reset();
    fleet_.reset();
  });
  run_on_control([] {});  // ends of policies that were posted meanwhile
  environment_.stop_posting();
  control_.stop();
  control_thread_.join();
  watchdog_.stop();
}

std::vector<std::string> Gateway::check(const config::Config& config, const std::string& packaged) {
  Gateway gateway(config, packaged);
  std::vector<std::string> errors;
  gateway.control_thread_ = std::thread([&gateway] { gateway.control_.run(); });
  gateway.run_on_control([&] {
    gateway.publisher_->prepare(config, errors);
    gateway.sources_->prepare(config, errors);
    if (config.log.access == "off") return;
    if (auto text = telemetry::access_log_problem(config.log.access); !text.empty())
      errors.push_back("log.access: " + text);
  });
  return errors;
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
