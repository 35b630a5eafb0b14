// What: the gateway as a process: I/O threads, the control thread, the administration thread, and what they
// share.
//   start() -> [reload()]* -> drain() -> destruction.
// Threads: public functions by the thread that made it (main); the rest as each member says.
// Ownership: owns everything.
// Errors: start() and reload() return errors, ready to print; a failed reload changes nothing.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "config/config.h"
#include "control/addresses.h"
#include "control/blocking_pool.h"
#include "control/environment.h"
#include "control/io_thread.h"
#include "control/local_api.h"
#include "control/publisher.h"
#include "control/sources.h"
#include "fleet/fleet.h"
#include "fleet/health.h"
#include "plugin/registry.h"
#include "plugin/watchdog.h"
#include "telemetry/access_log.h"
#include "telemetry/metrics.h"

namespace tidegate::control {

class Gateway final : private Backend, private fleet::FleetListener {
 public:
  // `packaged`: directory of the plugins that came with this binary.
  Gateway(config::Config config, std::string packaged);
  ~Gateway();

  std::vector<std::string> start();
  std::vector<std::string> reload(config::Config config);
  void reload_refused() { metrics_.reload_done(false, 0); }  // the file itself was no good
  void reopen_logs();                                        // after a rotation
  void drain();  // readiness falls, listeners close, requests end or are ended; returns when all is done
  void stop() { stop_threads(); }  // without a drain; the destructor does it too
  bool stuck() const noexcept {
    return stalled();
  }  // any thread: a plugin call does not return; see /liveness
  std::uint16_t port() const noexcept { return threads_.front()->port(); }
  std::uint16_t control_port() const noexcept;
  std::uint16_t metrics_port() const noexcept;

  // Builds everything that a start would build, without listening; for `tidegate check`.
  static std::vector<std::string> check(const config::Config& config, const std::string& packaged);

 private:
  void run_on_control(std::function<void()> work);  // waits for it
  std::vector<std::string> start_admin();
  std::vector<std::string> apply_all(const config::Config& config);
  void apply_health(const config::Config& config);
  void watch_fleet();
  void stop_threads();

  // Backend
  bool draining() const noexcept override { return draining_.load(std::memory_order_relaxed); }
  bool stalled() const noexcept override { return watchdog_.stalled(); }
  Reply readiness() const override;
  Reply models() const override;
  std::string metrics_text() const override;
  bool token_matches(std::string_view token) const override;
  bool has_token() const override;
  void post_control(std::function<void()> task) override { control_.post(std::move(task)); }
  bool post_blocking(std::function<void()> task) override { return blocking_->post(std::move(task)); }
  bool post_names(std::function<void()> task) override { return names_->post(std::move(task)); }
  Reply list_workers(std::string_view model) override;
  Reply show_worker(std::string_view id) override;
  Reply remove_worker(std::string_view id) override;
  Reply plugins() override;
  void add_worker(std::string body, std::function<void(Reply)> done) override;
  Reply register_worker(fleet::ResolvedSpec reached, const std::string& ignored);

  // fleet::FleetListener [control]
  void on_worker_added(const fleet::WorkerPtr& worker) override;
  void on_worker_removed(const fleet::WorkerPtr& worker, std::string_view reason) override;
  void on_membership_changed() override;
  void on_verdict(const fleet::WorkerPtr& worker, bool healthy, std::string_view reason);

  config::Config config_;
  std::string packaged_;
  telemetry::MetricsRegistry metrics_registry_;
  telemetry::GatewayMetrics metrics_;
  std::unique_ptr<telemetry::AccessLog> access_log_;
  http::EventLoop control_;
  Environment environment_;
  plugin::Watchdog watchdog_;
  plugin::Registry registry_;
  routing::ViewHub hub_;
  std::shared_ptr<fleet::SlotTable> slots_ = std::make_shared<fleet::SlotTable>();
  std::unique_ptr<fleet::Fleet> fleet_;
  std::unique_ptr<fleet::HealthChecker> health_;
  std::unique_ptr<Sources> sources_;
  std::unique_ptr<Addresses> addresses_;
  std::unique_ptr<Publisher> publisher_;
  http::BodyBudget budget_;
  http::ConnectionCap cap_;                 // of the data plane's clients
  std::unique_ptr<BlockingPool> blocking_;  // scans of big bodies
  std::unique_ptr<BlockingPool> names_;     // names of workers that come by POST /workers
  std::vector<std::unique_ptr<IoThread>> threads_;
  // The control and metrics listeners, on a thread of their own: probes answer while control work is under
  // way.
  struct Admin;
  std::unique_ptr<Admin> admin_;
  std::atomic<bool> draining_{false};
  std::thread control_thread_;
  mutable std::mutex token_mutex_;
  std::string token_;
  telemetry::Leases leases_;
};

}  // namespace tidegate::control
