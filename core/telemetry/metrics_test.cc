#include "telemetry/metrics.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

namespace tidegate::telemetry {
namespace {

struct Fixture {
  MetricsRegistry registry;
  GatewayMetrics metrics{registry, {.version = "0.1.0", .commit = "abc", .compiler = "gcc"}};

  // The value printed for a series; -1: not there.
  double value(const std::string& series) const {
    const std::string text = registry.expose();
    const size_t at = ("\n" + text).find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + series.size(), nullptr);
  }
};

TEST_CASE("known codes have a label of their own, others that of their class") {
  CHECK(code_label(code_index(200)) == "200");
  CHECK(code_label(code_index(499)) == "499");
  CHECK(code_label(code_index(206)) == "2xx");
  CHECK(code_label(code_index(100)) == "1xx");
  CHECK(code_label(code_index(599)) == "5xx");
  for (const int odd : {0, -1, 99, 600, 70000}) {
    CAPTURE(odd);
    CHECK(code_label(code_index(odd)) == "other");
  }
}

TEST_CASE_FIXTURE(Fixture,
                  "a request is counted by endpoint, method and code; codes that never came are not shown") {
  metrics.endpoint("/v1/chat/completions", "POST").done(200, 0.2);
  metrics.endpoint("/v1/chat/completions", "POST").done(503, 0.001);
  const std::string labels = "{endpoint=\"/v1/chat/completions\",method=\"POST\"";
  CHECK(value("tidegate_requests_total" + labels + ",code=\"200\"}") == 1);
  CHECK(value("tidegate_requests_total" + labels + ",code=\"503\"}") == 1);
  CHECK(value("tidegate_requests_total" + labels + ",code=\"404\"}") == -1);
  CHECK(value("tidegate_request_duration_seconds_count" + labels + "}") == 2);
}

TEST_CASE_FIXTURE(Fixture, "a route counts tokens by kind and source") {
  const auto route = metrics.route("*", "llama");
  route->tokens_prompt.add(100);
  route->events_output.add(7);
  route->requests[2].add();
  CHECK(value("tidegate_tokens_total{route=\"*\",model=\"llama\",kind=\"prompt\",source=\"usage\"}") == 100);
  CHECK(value("tidegate_tokens_total{route=\"*\",model=\"llama\",kind=\"output\",source=\"events\"}") == 7);
  CHECK(value("tidegate_route_requests_total{route=\"*\",model=\"llama\",class=\"2xx\"}") == 1);
}

TEST_CASE_FIXTURE(Fixture, "a worker's series go with the last view that shows it") {
  auto old_view = metrics.worker("w1");
  auto new_view = metrics.worker("w1");
  old_view->requests.add();
  new_view->requests.add();
  new_view->errors[static_cast<size_t>(WorkerError::reset)].add();
  old_view.reset();
  CHECK(value("tidegate_worker_requests_total{worker=\"w1\"}") == 2);
  CHECK(value("tidegate_worker_errors_total{worker=\"w1\",kind=\"reset\"}") == 1);
  new_view.reset();
  CHECK(value("tidegate_worker_requests_total{worker=\"w1\"}") == -1);
}

TEST_CASE_FIXTURE(Fixture, "a plugin's waits, slips and quarantine are shown by instance") {
  const auto plugin = metrics.plugin("round_robin", "route-1");
  plugin->lock_waits.add(3);
  plugin->slips.add();
  plugin->quarantined.set(1);
  const std::string labels = "{plugin=\"round_robin\",instance=\"route-1\"}";
  CHECK(value("tidegate_plugin_lock_waits_total" + labels) == 3);
  CHECK(value("tidegate_plugin_slips_total" + labels) == 1);
  CHECK(value("tidegate_plugin_quarantined" + labels) == 1);
}

TEST_CASE_FIXTURE(Fixture, "a refused reload leaves the time of the last good one") {
  metrics.reload_done(true, 1000);
  metrics.reload_done(false, 2000);
  CHECK(value("tidegate_config_reloads_total{result=\"ok\"}") == 1);
  CHECK(value("tidegate_config_reloads_total{result=\"refused\"}") == 1);
  CHECK(value("tidegate_config_last_reload_success_timestamp_seconds") == 1000);
}

TEST_CASE_FIXTURE(Fixture, "discovery, loops, legs, protocol errors and watched values have their families") {
  const auto source = metrics.discovery("static");
  source->workers.set(4);
  const auto loop = metrics.loop(1);
  loop->busy_seconds.add(0.5);
  metrics.legs[static_cast<size_t>(LegOutcome::dropped)].add();
  metrics.protocol_error("two_hosts").add();
  metrics.watch_worker_state([](const GatewayMetrics::Emit& emit) { emit({{"worker", "w"}}, 1); });
  metrics.watch_number("access_log_dropped_total", "h", Kind::counter, [] { return 6.0; });
  CHECK(value("tidegate_discovery_workers{source=\"static\"}") == 4);
  CHECK(value("tidegate_loop_busy_seconds_total{loop=\"1\"}") == 0.5);
  CHECK(value("tidegate_plan_legs_total{outcome=\"dropped\"}") == 1);
  CHECK(value("tidegate_protocol_errors_total{code=\"two_hosts\"}") == 1);
  CHECK(value("tidegate_worker_state{worker=\"w\"}") == 1);
  CHECK(value("tidegate_access_log_dropped_total") == 6);
}

TEST_CASE_FIXTURE(Fixture, "the process and its build are shown") {
  CHECK(value("tidegate_build_info{version=\"0.1.0\",commit=\"abc\",compiler=\"gcc\"}") == 1);
  CHECK(value("process_cpu_seconds_total") > 0);
  CHECK(value("process_resident_memory_bytes") > 1e6);
  CHECK(value("process_open_fds") >= 3);
  CHECK(value("process_max_fds") > 3);
  CHECK(value("process_start_time_seconds") > 1.5e9);
}

}  // namespace
}  // namespace tidegate::telemetry
