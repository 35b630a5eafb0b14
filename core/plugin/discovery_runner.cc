#include "plugin/discovery_runner.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>

#include "plugin/containment.h"
#include "plugin/host.h"
#include "plugin/out_text.h"
#include "plugin/stop_token.h"

namespace tidegate::plugin {
namespace {

using Clock = std::chrono::steady_clock;
std::atomic<std::uint32_t> left{0};

}  // namespace

struct DiscoveryRunner::Impl {
  struct Sink : tg_discovery_sink {
    Impl* self;
  };
  Impl(const Component& c, std::string source, const std::string& config, HostEnvironment& e,
       DiscoveryListener& l, Options o)
      : component(c),
        environment(e),
        listener(l),
        options(o),
        containment(Containment::create(e, {c.library->name(), c.name, source}, true, {})),
        host(e, {.component = c.name,
                 .instance = std::move(source),
                 .config_json = config,
                 .containment = containment}) {}

  void wire();
  void run();
  void end();
  void request_stop();
  void destroy();
  bool await_end();
  static void reap(void* impl);
  void failed(const std::string& text);
  tg_status refuse(tg_error*, const Refusal&);
  tg_status publish(const tg_worker_desc*, std::uint32_t count, std::uint32_t stride, tg_error*);

  const Component& component;
  HostEnvironment& environment;
  DiscoveryListener& listener;
  const Options options;
  std::shared_ptr<Containment> containment;
  InstanceHost host;
  StopToken stop;
  Sink sink{};
  std::mutex listener_mutex;  // one call of the listener at a time, in the order of the plugin's calls
  void* self = nullptr;
  std::mutex end_mutex;
  std::condition_variable end_reached;
  std::atomic<bool> ended{false};  // release: whoever acquires it may destroy what run() used
  bool abandoned = false;          // under end_mutex: whoever finds run() ended reaps
  Clock::time_point stop_by = Clock::time_point::max();  // [control]
  std::thread thread;
};

void DiscoveryRunner::Impl::failed(const std::string& text) {
  const LogField fields[] = {{"detail", text}};
  environment.log(TG_LOG_WARN, host.instance(), "discovery failed; the last good list stays", fields);
  const std::scoped_lock lock(listener_mutex);
  listener.on_failed(host.instance(), text);
}

tg_status DiscoveryRunner::Impl::refuse(tg_error* error, const Refusal& refusal) {
  const LogField fields[] = {{"detail", refusal.text}};
  environment.log(TG_LOG_WARN, host.instance(), "a record of a discovery source was refused", fields);
  return set_error(error, TG_E_INVALID, refusal.where, refusal.text);
}

// A record of minor 0.
constexpr std::size_t oldest_desc = offsetof(tg_worker_desc, kv_blocks) + sizeof(tg_worker_desc::kv_blocks);

// A source's whole truth is taken whole or not at all: half of it would remove workers that are there.
tg_status DiscoveryRunner::Impl::publish(const tg_worker_desc* list, std::uint32_t count,
                                         std::uint32_t stride, tg_error* error) {
  if (count != 0 && (!list || stride < oldest_desc))
    return refuse(error, {"expected a list with a stride of at least " + std::to_string(oldest_desc) +
                              ", found " + std::to_string(stride) + "; give the sizeof",
                          ""});
  std::vector<WorkerDesc> workers;
  std::set<std::string> ids;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto* at = reinterpret_cast<const char*>(list) + std::size_t{i} * stride;
    auto worker = read_worker(*reinterpret_cast<const tg_worker_desc*>(at));
    if (!worker) return refuse(error, worker.refusal());
    if (!ids.insert(worker->id).second)
      return refuse(
          error, {"worker '" + worker->id + "': expected each id once, found it twice; make ids unique", ""});
    workers.push_back(*std::move(worker));
  }
  const std::scoped_lock lock(listener_mutex);
  listener.on_publish(host.instance(), std::move(workers), (component.flags & TG_DISCOVERY_ALLOW_EMPTY) != 0);
  return TG_OK;
}

namespace {

// The sink's functions: no exception of ours leaves them.
template <class ImplType, class Fn>
tg_status in_sink(ImplType& impl, tg_error* error, Fn&& fn) noexcept {
  if (impl.stop.requested()) return set_error(error, TG_E_CANCELLED, "", "this source is being stopped");
  try {
    return fn();
  } catch (const std::exception& e) {
    return set_error(error, TG_E_INTERNAL, "", e.what());
  }
}

}  // namespace

std::uint32_t DiscoveryRunner::Backoff::after(std::uint64_t run_ms) noexcept {
  if (run_ms > options_.longest_pause_ms) next_ms_ = options_.first_pause_ms;
  const std::uint32_t pause_ms = next_ms_;
  next_ms_ = std::min(next_ms_ * 2, options_.longest_pause_ms);
  return pause_ms;
}

void DiscoveryRunner::Impl::run() {
  Backoff backoff(options);
  for (;;) {
    tg_error error{};
    error.size = sizeof error;
    const std::uint64_t started = environment.monotonic_ns();
    tg_status status = TG_E_INTERNAL;
    try {  // not marked for the watchdog: this call lasts as long as the source
      status = own_status(component.discovery.run(self, stop.abi(), &error));
    } catch (...) {
      set_error(&error, TG_E_INTERNAL, "", "run() threw an exception");
    }
    if (stop.requested() || status == TG_OK) break;
    const std::string text = error_text(error);
    failed(text.empty() ? "run() failed with status " + std::to_string(status) : text);
    if (stop.wait_ms(backoff.after((environment.monotonic_ns() - started) / 1'000'000))) break;
  }
  end();
}

void DiscoveryRunner::Impl::end() {
  const std::scoped_lock lock(end_mutex);
  ended.store(true, std::memory_order_release);
  end_reached.notify_all();
  // False: the control thread has ended, and with it the gateway. What is left goes with the process.
  if (abandoned) environment.post(reap, this);
}

void DiscoveryRunner::Impl::request_stop() {
  if (stop_by == Clock::time_point::max())
    stop_by = Clock::now() + std::chrono::milliseconds(options.stop_limit_ms);
  stop.request();
}

void DiscoveryRunner::Impl::destroy() {
  containment->control_call(Function::destroy, [&] {
    component.discovery.destroy(self);
    return TG_OK;
  });
}

// False: its time is up, and the thread is on its own from now on.
bool DiscoveryRunner::Impl::await_end() {
  std::unique_lock lock(end_mutex);
  if (end_reached.wait_until(lock, stop_by, [&] { return ended.load(std::memory_order_relaxed); }))
    return true;
  abandoned = true;
  left.fetch_add(1, std::memory_order_relaxed);
  return false;
}

// [control] run() has returned after all.
void DiscoveryRunner::Impl::reap(void* impl) {
  const std::unique_ptr<Impl> late(static_cast<Impl*>(impl));
  late->thread.join();
  late->destroy();
  late->environment.log(TG_LOG_WARN, late->host.instance(),
                        "a discovery source that was left behind has ended", {});
  left.fetch_sub(1, std::memory_order_relaxed);
}

void DiscoveryRunner::Impl::wire() {
  sink.size = sizeof(tg_discovery_sink);
  sink.self = this;
  sink.publish = [](tg_discovery_sink* s, const tg_worker_desc* list, std::uint32_t count,
                    std::uint32_t stride, tg_error* error) {
    Impl& self = *static_cast<Sink*>(s)->self;
    return in_sink(self, error, [&] { return self.publish(list, count, stride, error); });
  };
  sink.upsert = [](tg_discovery_sink* s, const tg_worker_desc* given, tg_error* error) {
    Impl& self = *static_cast<Sink*>(s)->self;
    return in_sink(self, error, [&]() -> tg_status {
      if (!given) return TG_E_INVALID;
      auto worker = read_worker(*given);
      if (!worker) return self.refuse(error, worker.refusal());
      const std::scoped_lock lock(self.listener_mutex);
      self.listener.on_upsert(self.host.instance(), *std::move(worker));
      return TG_OK;
    });
  };
  sink.remove = [](tg_discovery_sink* s, tg_str id, tg_str reason, tg_error* error) {
    Impl& self = *static_cast<Sink*>(s)->self;
    return in_sink(self, error, [&]() -> tg_status {
      const std::scoped_lock lock(self.listener_mutex);
      self.listener.on_remove(self.host.instance(), std::string(view(id)), std::string(view(reason)));
      return TG_OK;
    });
  };
  sink.synced = [](tg_discovery_sink* s) {
    Impl& self = *static_cast<Sink*>(s)->self;
    in_sink(self, nullptr, [&]() -> tg_status {
      const std::scoped_lock lock(self.listener_mutex);
      self.listener.on_synced(self.host.instance());
      return TG_OK;
    });
  };
  sink.failed = [](tg_discovery_sink* s, tg_status, tg_str text) {
    Impl& self = *static_cast<Sink*>(s)->self;
    in_sink(self, nullptr, [&]() -> tg_status {
      self.failed(std::string(view(text)));
      return TG_OK;
    });
  };
}

DiscoveryRunner::DiscoveryRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Outcome<std::unique_ptr<DiscoveryRunner>> DiscoveryRunner::create(const Component& component,
                                                                  std::string source, std::string config,
                                                                  HostEnvironment& environment,
                                                                  DiscoveryListener& listener,
                                                                  Options options) {
  const std::string about =
      "discovery '" + component.name + "' (" + component.library->path() + "), source '" + source + "': ";
  if (component.kind != Kind::discovery)
    return Refusal{about + "expected a component of " TG_DISCOVERY_INTERFACE ", found one of " +
                       component.interface_id + "; name a discovery plugin",
                   ""};
  auto prepared = environment.prepare_config(component, std::move(config));
  if (!prepared) return prepared.refusal();
  auto impl = std::make_unique<Impl>(component, std::move(source), *prepared, environment, listener, options);
  Impl& it = *impl;
  it.wire();
  tg_error error{};
  error.size = sizeof error;
  const tg_status status = it.containment->control_call(Function::create, [&] {
    return component.discovery.create(it.host.abi(), to_str(*prepared), &it.sink, &it.self, &error);
  });
  it.host.end_create();
  if (status != TG_OK)
    return Refusal{about + (status == call_threw ? "create() threw an exception" : error_text(error)),
                   error_where(error)};
  return std::unique_ptr<DiscoveryRunner>(new DiscoveryRunner(std::move(impl)));
}

DiscoveryRunner::~DiscoveryRunner() {
  impl_->request_stop();
  if (impl_->thread.joinable()) {
    if (!impl_->await_end()) {
      const std::string limit = std::to_string(impl_->options.stop_limit_ms);
      const LogField fields[] = {{"plugin", impl_->component.library->name()},
                                 {"component", impl_->component.name},
                                 {"limit_ms", limit}};
      impl_->environment.log(
          TG_LOG_ERROR, source(),
          "a discovery source ignores its stop: run() has not returned in time, its thread is left behind",
          fields);
      static_cast<void>(impl_.release());  // Impl::reap() has it
      return;
    }
    impl_->thread.join();
  }
  impl_->destroy();
}

const std::string& DiscoveryRunner::source() const noexcept { return impl_->host.instance(); }
void DiscoveryRunner::start() {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}
void DiscoveryRunner::request_stop() noexcept { impl_->request_stop(); }
bool DiscoveryRunner::ended() const noexcept { return impl_->ended.load(std::memory_order_acquire); }
bool DiscoveryRunner::overdue() const noexcept { return Clock::now() >= impl_->stop_by; }
std::uint32_t DiscoveryRunner::left_behind() noexcept { return left.load(std::memory_order_relaxed); }

std::string DiscoveryRunner::describe() {
  using Json = nlohmann::ordered_json;
  Json out = {{"source", source()},
              {"component", impl_->component.name},
              {"plugin", impl_->component.library->name()},
              {"version", impl_->component.library->version()},
              {"path", impl_->component.library->path()},
              {"ended", ended()}};
  if (impl_->component.discovery.describe) {
    OutText text(std::size_t{1} << 20);
    const tg_status status = impl_->containment->control_call(
        Function::describe, [&] { return impl_->component.discovery.describe(impl_->self, text.abi()); });
    Json own = Json::parse(text.text(), nullptr, false);
    out["state"] = status == TG_OK && !own.is_discarded() ? own : Json(nullptr);
  }
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tidegate::plugin
