// What: one worker: what a source says of it (WorkerSpec), and the registered worker that holds a slot
// (Worker). Threads: both immutable once made; live numbers are in the slot's record. Ownership: shared; the
// last owner's end frees the slot for another worker. Errors: resolve() says why an address can't be had.
#pragma once

#include <Poco/Net/SocketAddress.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fleet/slots.h"
#include "telemetry/metrics.h"

namespace tidegate::fleet {

struct WorkerSpec {
  std::string source;  // discovery instance, or "api" for those added by hand
  std::string id;      // unique within its source
  std::string url;
  std::string zone, secret_ref, health_path;
  std::vector<std::string> models;  // empty: serves any
  std::vector<std::pair<std::string, std::string>> labels;
  std::uint32_t role = TG_ROLE_ANY, weight_milli = 1000, bootstrap_port = 0, max_running = 0,
                block_tokens = 0, ttl_ms = 0;  // ttl 0: until removed
  std::uint64_t kv_blocks = 0;
  bool draining = false;

  bool operator==(const WorkerSpec&) const = default;
};

// Where a worker listens, and with what it is asked.
struct Endpoint {
  Poco::Net::SocketAddress address;
  std::string authority;      // Host header: "10.0.0.1:8000"
  std::string base_path;      // of the url, without a trailing slash; usually empty
  std::string authorization;  // "Bearer <its own key>"; empty: it has none. Never printed.
  bool named = false;         // by a name, not an address
  std::vector<Poco::Net::SocketAddress> addresses = {};  // all that its name has

  // A name service that turns its list round has not moved anybody.
  bool still_at(const Endpoint& found) const;
};

// May ask the name service: call it where blocking is allowed. Throws std::runtime_error with a text for
// people.
Endpoint resolve(const std::string& url);

class Worker {
 public:
  using Metrics = std::shared_ptr<const telemetry::WorkerMetrics>;  // may be null

  Worker(std::shared_ptr<SlotTable> slots, SlotTable::Lease lease, WorkerSpec spec, Endpoint endpoint,
         Metrics metrics);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const WorkerSpec& spec() const noexcept { return spec_; }
  const Endpoint& endpoint() const noexcept { return endpoint_; }
  const std::string& uuid() const noexcept { return uuid_; }  // how /workers calls it
  std::uint32_t slot() const noexcept { return lease_.slot; }
  std::uint32_t generation() const noexcept { return lease_.generation; }
  tg_worker_live& live() const noexcept { return slots_->live(lease_.slot); }
  std::uint32_t state() const noexcept { return tg_live_get(&live().state); }
  bool ready() const noexcept { return state() == TG_WORKER_READY; }
  const telemetry::WorkerMetrics* metrics() const noexcept { return metrics_.get(); }

 private:
  std::shared_ptr<SlotTable> slots_;
  SlotTable::Lease lease_;
  WorkerSpec spec_;
  Endpoint endpoint_;
  std::string uuid_;
  Metrics metrics_;
};
using WorkerPtr = std::shared_ptr<const Worker>;

const char* role_name(std::uint32_t role) noexcept;    // "any", "prefill", ...
const char* state_name(std::uint32_t state) noexcept;  // "starting", "ready", ...

}  // namespace tidegate::fleet
