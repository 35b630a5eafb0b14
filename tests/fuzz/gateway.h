// What: the gateway's request path in one thread: what stays for all cases (plugins, workers, views: Ground)
// and
//   what each case makes anew and takes apart again (loop, connections, routing context: Gateway).
// Threads: one, which is both loop and control thread.
// Ownership: a Gateway borrows its Ground.
// Errors: what can't be set up throws; audit() throws a Failure.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "http/server_set.h"
#include "plugin/registry.h"
#include "routing/io_context.h"

namespace tidegate::fuzz {

class QuietEnvironment final : public plugin::HostEnvironment, private plugin::MetricSink {
 public:
  std::uint64_t state = 1;  // of random(): set by each case

 private:
  bool log_enabled(int) const noexcept override { return false; }
  void log(int, std::string_view, std::string_view, std::span<const plugin::LogField>) noexcept override {}
  plugin::MetricSink& metrics() noexcept override { return *this; }
  bool post(Task task, void* argument) noexcept override { return task(argument), true; }
  std::uint64_t start_timer(std::uint64_t, std::uint64_t, Task, void*) override { return 1; }
  void cancel_timer(std::uint64_t) noexcept override {}
  bool on_control_thread() const noexcept override { return true; }
  void request_rebuild() noexcept override {}
  std::optional<std::string> secret(std::string_view) override { return std::nullopt; }
  std::uint64_t random() noexcept override;
  std::uint64_t define(const plugin::MetricDefinition&) override { return 0; }
  void add(std::uint64_t, double) noexcept override {}
  void set(std::uint64_t, double) noexcept override {}
  void observe(std::uint64_t, double) noexcept override {}
};

// A listening socket on the loopback device that the fuzzer accepts from.
struct EnginePort {
  http::UniqueFd fd;
  std::uint16_t port = 0;
  bool listening = false;
};
EnginePort open_port(bool listening);

class Ground {
 public:
  static constexpr unsigned engines = 4;  // the worker after these is bound to a port where nobody listens
  static constexpr unsigned attempts = 3;

  Ground();
  void renew();  // before a case: policies that have seen nothing, so that a case does not depend on others
  void renew_graph();  // as a reload does; requests under way stay with their policies
  // Workers by bits of `mask`; route timeouts of a few ms, or so long that they never end.
  routing::ViewPtr view(unsigned mask, bool short_times);
  const fleet::WorkerPtr& worker(unsigned i) const { return workers_[i]; }
  void set_ready(unsigned i, bool ready);
  // What the policies that tell say: picked legs and the sum of their completions.
  struct Legs {
    std::uint64_t picked = 0, completed = 0;
  };
  Legs legs();
  void audit();  // nothing is counted as under way

  QuietEnvironment environment;
  telemetry::MetricsRegistry metrics_registry;
  telemetry::GatewayMetrics metrics{metrics_registry, {"0", "0", "0"}};
  std::array<EnginePort, engines + 1> ports;
  std::vector<std::shared_ptr<const telemetry::WorkerMetrics>> worker_metrics;

 private:
  std::shared_ptr<plugin::PolicyNode> policy(const std::string& name);
  std::shared_ptr<const routing::RouteGraph> graph(bool short_times);

  plugin::Registry registry_;
  std::shared_ptr<fleet::SlotTable> slots_ = std::make_shared<fleet::SlotTable>();
  std::vector<fleet::WorkerPtr> workers_;
  std::map<std::string, std::shared_ptr<plugin::PolicyNode>> policies_;
  std::vector<std::shared_ptr<plugin::PolicyNode>> retired_;
  unsigned generation_ = 0;  // in odd ones the policies of plans have changed places
  std::shared_ptr<const routing::RouteGraph> graphs_[2];
  std::map<std::pair<unsigned, bool>, routing::ViewPtr> views_;
};

struct Limits {
  http::ServerLimits server;
  http::UpstreamLimits upstream;
  std::uint64_t body_budget = 8 << 20;
};

class Gateway final : private http::Service {
 public:
  Gateway(Ground& ground, const Limits& limits, http::BodyBudget& budget);
  ~Gateway() override;

  void accept(http::UniqueFd fd) noexcept;
  // One batch, `ms` later. Time is the program's, so that it goes the same way again.
  void step(unsigned ms = 0);
  void publish(routing::ViewPtr view) { hub_.publish(std::move(view)); }
  void close_idle() noexcept { io_.pool.close_idle(); }
  void last_words();
  void drain() { connections_.drain(); }
  // Nothing is under way: no client, no run, no cancel action, no busy upstream, no buffered body.
  bool quiet() const noexcept;
  std::string what_is_left() const;
  std::size_t clients() const noexcept { return connections_.connections(); }
  http::UpstreamStats upstreams() const noexcept { return io_.pool.stats(); }
  unsigned protocol_errors = 0;

 private:
  std::unique_ptr<http::Responder> begin(http::ServerConnection& connection) noexcept override;
  void on_protocol_error(int status, std::string_view code, const http::PeerAddress& peer) noexcept override;
  std::string error_body(int status, std::string_view code, std::string_view message) override;

  static std::uint64_t now_ns() noexcept;

  // In the order of an I/O thread's members, so that taking it apart is tried as it is there.
  Ground& ground_;
  http::BodyBudget& budget_;
  routing::ViewHub hub_;
  http::EventLoop loop_{now_ns};
  routing::IoContext io_;
  http::ConnectionSet connections_;
  struct Offloaded {
    std::function<void()> work, back;
  };
  std::deque<Offloaded> offloaded_;  // scans "elsewhere": each is done a few steps later
  unsigned steps_ = 0;
};

}  // namespace tidegate::fuzz
