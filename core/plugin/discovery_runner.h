// What: one discovery instance on a thread of its own: created, run, run again after a growing
//   pause when it fails, stopped. What it reports is checked, copied into values of ours and handed
//   to a listener.
// Threads: create, start, request_stop, destructor: [control]. The listener is called by any
//   thread, one at a time.
// Ownership: owns instance and thread. The destructor stops, waits for run() to return, then
//   destroys. When run() has not returned `stop_limit_ms` after its stop, thread and instance are left
//   behind: the instance is destroyed when run() does return. Environment and listener outlive it;
//   while left_behind() is not 0 nothing of them may be destroyed, so the process ends by _exit().
// Errors: create gives a Refusal. A bad record is refused to the plugin (TG_E_INVALID with the
//   reason) and logged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <tidegate/discovery.h>

#include "plugin/environment.h"
#include "plugin/library.h"

namespace tidegate::plugin {

struct WorkerDesc {
  std::string id, url, zone, secret_ref, health_path;
  bool tls = false;
  std::string host;  // of the url; IPv6 without brackets
  std::uint16_t port = 0;
  std::uint32_t role = TG_ROLE_ANY;
  bool draining = false;
  std::uint32_t weight_milli = 1000;
  std::vector<std::string> models;
  std::vector<std::pair<std::string, std::string>> labels;
  std::uint32_t bootstrap_port = 0, max_running = 0, block_tokens = 0, ttl_ms = 0;
  std::uint64_t kv_blocks = 0;
};

// Checks and copies one record. Apart, for the host's own sources of workers too.
Outcome<WorkerDesc> read_worker(const tg_worker_desc&);

class DiscoveryListener {
 public:
  // allow_empty: an empty or much smaller list is meant.
  virtual void on_publish(const std::string& source, std::vector<WorkerDesc> workers, bool allow_empty) = 0;
  virtual void on_upsert(const std::string& source, WorkerDesc worker) = 0;
  virtual void on_remove(const std::string& source, std::string id, std::string reason) = 0;
  virtual void on_synced(const std::string& source) = 0;
  virtual void on_failed(const std::string& source, std::string text) = 0;

 protected:
  ~DiscoveryListener() = default;
};

class DiscoveryRunner {
 public:
  struct Options {
    std::uint32_t first_pause_ms = 1'000, longest_pause_ms = 60'000;
    std::uint32_t stop_limit_ms = 5'000;  // the contract's: run() returns within it
  };
  // How long to wait before the next run().
  class Backoff {
   public:
    explicit Backoff(const Options& options) : options_(options), next_ms_(options.first_pause_ms) {}
    std::uint32_t after(std::uint64_t run_ms) noexcept;  // a run of that length has failed

   private:
    const Options options_;
    std::uint32_t next_ms_;
  };
  static Outcome<std::unique_ptr<DiscoveryRunner>> create(const Component&, std::string source,
                                                          std::string config_json, HostEnvironment&,
                                                          DiscoveryListener&, Options);
  ~DiscoveryRunner();
  DiscoveryRunner(const DiscoveryRunner&) = delete;
  DiscoveryRunner& operator=(const DiscoveryRunner&) = delete;

  const std::string& source() const noexcept;
  void start();
  void request_stop() noexcept;   // returns at once; sink calls answer TG_E_CANCELLED from now on
  bool ended() const noexcept;    // run() has returned for good
  bool overdue() const noexcept;  // the stop limit has passed: the destructor does not wait
  static std::uint32_t left_behind() noexcept;  // [any] how many of the process are inside run() for ever
  std::string describe();                       // a JSON object

 private:
  struct Impl;
  explicit DiscoveryRunner(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidegate::plugin
