// What: active health checks: GET the health path of every worker; thresholds decide between READY and
// UNHEALTHY.
//   A new worker is STARTING, is probed at once and often, and is READY after its first good answer. Any 2xx
//   is good.
// Threads: the loop that it was made for (the control thread's).
// Ownership: shares the workers it probes; forget() ends a probe under way.
// Errors: none of its own; a probe that fails is what it reports.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "fleet/worker.h"
#include "http/event_loop.h"
#include "http/upstream.h"

namespace tidegate::fleet {

struct HealthOptions {
  bool enabled = true;
  std::string path = "/health";
  std::uint32_t interval_ms = 5'000, timeout_ms = 2'000, failures = 3, successes = 2, concurrency = 64;
};

class HealthChecker {
 public:
  // `verdict(worker, healthy, reason)` comes when a worker's verdict changes, or with a starting worker's
  // first good answer.
  using Verdict = std::function<void(const WorkerPtr&, bool healthy, std::string_view reason)>;
  using Result = std::function<void(const Worker&, bool good)>;  // of every probe, for metrics

  HealthChecker(http::EventLoop& loop, HealthOptions options, Verdict verdict, Result result = {});
  ~HealthChecker();

  void add(const WorkerPtr& worker);
  void forget(const Worker& worker);
  void set_options(const HealthOptions& options);  // counts and due times stay

 private:
  struct Probe;
  friend struct Probe;
  void start_waiting();
  void unasked(Probe& probe);
  void done(Probe& probe, bool good, std::string_view reason);

  http::EventLoop& loop_;
  HealthOptions options_;
  Verdict verdict_;
  Result result_;
  http::UpstreamPool pool_;
  std::map<std::uint32_t, std::unique_ptr<Probe>> probes_;  // by slot
  std::deque<std::uint32_t> waiting_;                       // due, but `concurrency` are under way
  std::uint32_t running_ = 0;
};

}  // namespace tidegate::fleet
