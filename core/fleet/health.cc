#include "fleet/health.h"

#include <algorithm>

namespace tidegate::fleet {
namespace {

// A starting worker is asked often, so that an engine that comes up is used at once.
constexpr std::uint32_t starting_interval_ms = 250;

// Probes never leave an idle connection behind: it would block a single-threaded engine.
http::UpstreamLimits probe_limits() {
  http::UpstreamLimits limits;
  limits.keep_alive_idle_ms = 0;
  limits.max_idle_per_worker = 0;
  return limits;
}

}  // namespace

struct HealthChecker::Probe final : http::UpstreamClient {
  Probe(HealthChecker& owner, WorkerPtr w) : checker(owner), worker(std::move(w)) {}
  ~Probe() {
    if (call) call->cancel();
  }

  void on_due() noexcept {
    checker.waiting_.push_back(worker->slot());
    checker.start_waiting();
  }

  void send() {
    const auto& options = checker.options_;
    const std::string& path = worker->spec().health_path.empty() ? options.path : worker->spec().health_path;
    std::string head = "GET " + worker->endpoint().base_path + path +
                       " HTTP/1.1\r\nHost: " + worker->endpoint().authority +
                       "\r\nUser-Agent: tidegate-health\r\nAccept: */*\r\nConnection: close\r\n";
    if (const auto& key = worker->endpoint().authorization; !key.empty())
      head += "Authorization: " + key + "\r\n";
    head += "\r\n";
    status = 0;
    http::UpstreamRequest request{.head = head,
                                  .timeouts = {options.timeout_ms, options.timeout_ms, options.timeout_ms}};
    call =
        checker.pool_.start(worker->slot(), worker->generation(), worker->endpoint().address, request, *this);
  }

  void on_response_head(const http::ResponseHead& head, http::BodyKind) noexcept override {
    // The status is the answer; what follows is nobody's business and may be endless.
    status = head.status;
    std::exchange(call, nullptr)->cancel();
    finish(status >= 200 && status < 300, "answered " + std::to_string(status));
  }
  void on_response_body(const http::BodyPart&) noexcept override {}
  void on_response_end() noexcept override {}
  void on_fault(http::UpstreamFault fault, std::string_view detail) noexcept override {
    call = nullptr;
    finish(false, std::string(http::fault_name(fault)) + ": " + std::string(detail));
  }
  void finish(bool good, const std::string& reason) noexcept { checker.done(*this, good, reason); }

  HealthChecker& checker;
  WorkerPtr worker;
  http::UpstreamCall* call = nullptr;
  std::uint32_t status = 0, failures = 0, successes = 0;
  bool ever_good = false, judged = false, healthy = false;  // judged: a verdict was given
  http::Timer timer{http::Timer::of<&Probe::on_due>, this};
};

HealthChecker::HealthChecker(http::EventLoop& loop, HealthOptions options, Verdict verdict, Result result)
    : loop_(loop),
      options_(std::move(options)),
      verdict_(std::move(verdict)),
      result_(std::move(result)),
      pool_(loop, probe_limits()) {}

HealthChecker::~HealthChecker() { probes_.clear(); }

void HealthChecker::add(const WorkerPtr& worker) {
  if (!options_.enabled) return verdict_(worker, true, "health checks are off");
  auto& probe = probes_[worker->slot()];
  probe = std::make_unique<Probe>(*this, worker);
  probe->on_due();
}

void HealthChecker::forget(const Worker& worker) {
  auto at = probes_.find(worker.slot());
  if (at == probes_.end() || at->second->worker->generation() != worker.generation()) return;
  if (at->second->call) --running_;
  std::erase(waiting_, worker.slot());
  probes_.erase(at);
  start_waiting();
}

void HealthChecker::set_options(const HealthOptions& options) { options_ = options; }

void HealthChecker::start_waiting() {
  while (!waiting_.empty() && running_ < std::max(options_.concurrency, 1u)) {
    auto at = probes_.find(waiting_.front());
    waiting_.pop_front();
    if (at == probes_.end() || at->second->call) continue;
    ++running_;
    at->second->send();
  }
}

void HealthChecker::done(Probe& probe, bool good, std::string_view reason) {
  --running_;
  if (result_) result_(*probe.worker, good);
  const WorkerPtr worker = probe.worker;  // the verdict may remove it
  if (good) {
    probe.failures = 0;
    probe.ever_good = true;
    ++probe.successes;
  } else {
    probe.successes = 0;
    ++probe.failures;
  }
  // The first good answer of a starting worker is enough; whoever was judged must prove itself. Both counts
  // may be above their thresholds already: a reload can lower them.
  bool changed = false;
  if (good && !probe.healthy && (!probe.judged || probe.successes >= options_.successes))
    changed = probe.healthy = true;
  else if (!good && probe.failures >= options_.failures && (probe.healthy || !probe.judged))
    changed = true, probe.healthy = false;
  probe.judged |= changed;
  // Never given up: a dead engine that comes back is found, however late.
  const bool starting = !probe.healthy && !probe.ever_good;
  loop_.arm(probe.timer,
            starting ? std::min(options_.interval_ms, starting_interval_ms) : options_.interval_ms);
  if (changed) verdict_(worker, good, reason);
  start_waiting();
}

}  // namespace tidegate::fleet
