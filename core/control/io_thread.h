// What: one I/O thread: loop, listener, connections, routing context. The data port's service.
// Threads: start() and join() by the gateway; everything else on its own loop through post().
// Ownership: owns all of it. Destroyed after join().
// Errors: the constructor throws when the address can't be listened on.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>

#include "config/config.h"
#include "control/local_api.h"
#include "http/server.h"
#include "routing/io_context.h"

namespace tidegate::control {

struct IoShared {
  const routing::ViewHub& hub;
  plugin::HostEnvironment& environment;
  telemetry::GatewayMetrics& metrics;
  telemetry::AccessLog* access_log;
  http::BodyBudget& budget;
  Backend& backend;
  http::ConnectionCap& cap;
};

class IoThread final : private http::Service {
 public:
  IoThread(std::uint32_t number, const config::Config& config, IoShared shared, std::uint16_t port);
  ~IoThread() override;

  std::uint16_t port() const noexcept { return listener_.port(); }
  void start();
  void apply(const config::Config& config);  // any thread: limits that may change
  // Any thread. Closes the listener, lets exchanges end; `drained` comes on this loop's thread when none is
  // left.
  void drain(std::function<void()> drained);
  void force_close();  // any thread: last words to what is open
  void stop();         // any thread
  void join();
  http::EventLoop& loop() noexcept { return loop_; }
  const http::UpstreamPool& upstreams() const noexcept { return io_.pool; }

 private:
  std::unique_ptr<http::Responder> begin(http::ServerConnection& connection) noexcept override;
  void on_protocol_error(int status, std::string_view code, const http::PeerAddress& peer) noexcept override;
  std::string error_body(int status, std::string_view code, std::string_view message) override;
  void register_series();
  void report() noexcept;
  void report_loop() noexcept;

  std::uint32_t number_;
  IoShared shared_;
  http::EventLoop loop_;
  routing::IoContext io_;
  http::ConnectionSet connections_;
  http::Listener listener_;
  std::unordered_map<const api::Endpoint*, const telemetry::EndpointMetrics*>
      endpoint_metrics_;  // null: others
  std::map<std::string, telemetry::Counter, std::less<>> protocol_errors_;
  std::shared_ptr<const telemetry::LoopMetrics> loop_metrics_;
  // What stands in this loop's objects goes to the metrics once a second, as differences to what was reported
  // before.
  struct Reported {
    double connections = 0, accepted = 0, refused = 0, busy = 0, idle = 0, body_bytes = 0;
    double cpu_seconds = 0;
    std::uint64_t at_ns = 0;
  } reported_;
  http::Timer report_{http::Timer::of<&IoThread::report>, this};
  std::thread thread_;
};

http::ServerLimits server_limits(const config::Config& config);

}  // namespace tidegate::control
