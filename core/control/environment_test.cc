#include "control/environment.h"

#include <doctest/doctest.h>

namespace tidegate::control {
namespace {

plugin::MetricDefinition counter(const char* instance) {
  return {.kind = plugin::MetricKind::counter,
          .name = "tidegate_plugin_toy_hits_total",
          .help = "h",
          .labels = {{"instance", instance}}};
}

struct Fixture {
  http::EventLoop loop;
  telemetry::MetricsRegistry registry;
  Environment environment{loop, registry};
  plugin::MetricSink& sink = environment.metrics();
  bool shows(const std::string& text) const { return registry.expose().find(text) != std::string::npos; }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "plugins' numbers are counted by kind") {
  const auto hits = sink.define(counter("main"));
  const auto nodes = sink.define({.kind = plugin::MetricKind::gauge, .name = "nodes", .help = "h"});
  const auto depth =
      sink.define({.kind = plugin::MetricKind::histogram, .name = "depth", .help = "h", .bounds = {10, 20}});
  sink.add(hits, 2.5);
  sink.add(hits, -1);  // a counter never falls
  sink.set(hits, 9);
  sink.set(nodes, 9);
  sink.add(nodes, 1);
  sink.observe(depth, 15);
  sink.add(0, 1);
  CHECK(shows("tidegate_plugin_toy_hits_total{instance=\"main\"} 2.5\n"));
  CHECK(shows("\nnodes 10\n"));
  CHECK(shows("depth_bucket{le=\"20\"} 1\n"));
}

TEST_CASE_FIXTURE(Fixture, "a metric that disagrees with an earlier one is refused") {
  sink.define(counter("main"));
  auto other = counter("main");
  other.kind = plugin::MetricKind::gauge;
  CHECK(sink.define(other) == 0);
}

TEST_CASE_FIXTURE(Fixture, "a series goes with the last instance that defined it") {
  const auto old = sink.define(counter("main"));
  const auto fresh = sink.define(counter("main"));  // its successor over a reload
  CHECK(old == fresh);
  sink.add(old, 1);
  sink.release(old);
  CHECK(shows("instance=\"main\""));
  sink.release(fresh);
  CHECK_FALSE(shows("instance=\"main\""));
  sink.release(fresh);  // once too often does nothing
}

}  // namespace tidegate::control
