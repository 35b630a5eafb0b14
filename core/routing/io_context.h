// What: what one I/O thread routes with: its loop, view, upstream connections, scanner, scratch memory.
// Threads: its loop's thread, unless a member says otherwise.
// Ownership: owned by the thread's set-up; outlives every connection and run of the loop.
// Errors: none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/body_scan.h"
#include "http/buffer.h"
#include "http/event_loop.h"
#include "http/upstream.h"
#include "plugin/environment.h"
#include "routing/selection.h"
#include "routing/view.h"
#include "routing/waiting.h"
#include "telemetry/access_log.h"
#include "telemetry/metrics.h"

namespace tidegate::routing {

class Run;

struct IoContext {
  IoContext(http::EventLoop& l, const ViewHub& hub, http::UpstreamLimits limits, plugin::HostEnvironment& env,
            telemetry::GatewayMetrics& m)
      : loop(l), view(hub), pool(l, limits), environment(env), metrics(m), waiting(l, hub) {}
  ~IoContext();

  http::EventLoop& loop;
  LoopView view;
  http::UpstreamPool pool;
  plugin::HostEnvironment& environment;
  telemetry::GatewayMetrics& metrics;
  telemetry::AccessLog* access_log = nullptr;  // null: off
  http::BodyBudget* budget = nullptr;          // of all buffered bodies; null: without limit
  api::BodyScanner scanner;
  static constexpr std::size_t scan_here = 1u << 20;  // what is larger is scanned off the loop's thread
  Selector selector;
  WaitingRuns waiting;
  static constexpr std::size_t most_spare_scans = 64;
  std::vector<api::BodyScan> spare_scans;  // with their memory
  std::string scratch;                     // for heads

  // Runs work elsewhere and comes back to this loop; for bodies too big to scan in passing. Unset: everything
  // is scanned here. False: too much is waiting there already; nothing will be called.
  std::function<bool(std::function<void()> work, std::function<void()> back)> offload;

  std::vector<std::unique_ptr<http::Deferred>> detached;  // cancel actions under way

  // Every run of this loop, for shutting down: runs may outlive their client while a worker must not be cut
  // off yet.
  Run* first_run = nullptr;

  std::uint64_t next_request_number() noexcept { return (request_base_ << 40) + ++request_count_; }
  void set_number(std::uint32_t loop_number) noexcept { request_base_ = loop_number + 1; }

 private:
  std::uint64_t request_base_ = 1, request_count_ = 0;
};

}  // namespace tidegate::routing
