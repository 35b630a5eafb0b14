#include "telemetry/registry.h"

#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace tidegate::telemetry {
namespace {

// Reads the text format back: series as printed -> value. Fails on a line that is none of a comment, a
// sample, nothing.
std::map<std::string, double> parse(const std::string& text) {
  std::map<std::string, double> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("# HELP ") || line.starts_with("# TYPE ")) continue;
    const size_t at = line.rfind(' ');
    REQUIRE(at != std::string::npos);
    size_t used = 0;
    const double value = std::stod(line.substr(at + 1), &used);
    REQUIRE(used == line.size() - at - 1);
    REQUIRE(samples.emplace(line.substr(0, at), value).second);
  }
  return samples;
}

TEST_CASE("the exposition shows what was counted, with type, help and labels") {
  MetricsRegistry registry;
  Family& seen = registry.family({.name = "seen_total", .help = "Things seen"});
  registry.counter(seen, {{"kind", "fish"}}).add(3);
  registry.counter(seen, {{"kind", "bird"}}).add();
  const std::string text = registry.expose();
  CHECK(text.find("# HELP seen_total Things seen\n") != std::string::npos);
  CHECK(text.find("# TYPE seen_total counter\n") != std::string::npos);
  CHECK(parse(text) ==
        std::map<std::string, double>{{"seen_total{kind=\"bird\"}", 1}, {"seen_total{kind=\"fish\"}", 3}});
}

TEST_CASE("a histogram is printed with cumulative buckets, sum and count") {
  MetricsRegistry registry;
  Family& family =
      registry.family({.name = "took_seconds", .help = "h", .kind = Kind::histogram, .bounds = {1, 2}});
  const Histogram took = registry.histogram(family, {{"who", "me"}});
  for (const double value : {0.5, 1.5, 9.0}) took.observe(value);
  const auto samples = parse(registry.expose());
  CHECK(samples.at("took_seconds_bucket{who=\"me\",le=\"1\"}") == 1);
  CHECK(samples.at("took_seconds_bucket{who=\"me\",le=\"2\"}") == 2);
  CHECK(samples.at("took_seconds_bucket{who=\"me\",le=\"+Inf\"}") == 3);
  CHECK(samples.at("took_seconds_count{who=\"me\"}") == 3);
  CHECK(samples.at("took_seconds_sum{who=\"me\"}") == 11);
}

TEST_CASE("label values and help with quotes, backslashes and newlines keep the format whole") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "odd_total", .help = "a\nb\\c"});
  registry.counter(family, {{"v", "a\"b\\c\nd"}}).add(2);
  const auto samples = parse(registry.expose());
  REQUIRE(samples.size() == 1);
  CHECK(samples.begin()->first == "odd_total{v=\"a\\\"b\\\\c\\nd\"}");
}

TEST_CASE("a series goes with the last lease on it, and a later one of that name begins at 0") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "w_total", .help = ""});
  std::optional<Leases> old_view(std::in_place), new_view(std::in_place);
  registry.counter(family, {{"worker", "a"}}, &*old_view).add(5);
  registry.counter(family, {{"worker", "a"}}, &*new_view).add(2);
  CHECK(parse(registry.expose()).at("w_total{worker=\"a\"}") == 7);
  old_view.reset();
  CHECK(parse(registry.expose()).at("w_total{worker=\"a\"}") == 7);
  new_view.reset();
  CHECK(registry.expose().empty());
  Leases again;
  registry.counter(family, {{"worker", "a"}}, &again);
  CHECK(parse(registry.expose()).at("w_total{worker=\"a\"}") == 0);
}

TEST_CASE("leases may outlive the registry, and all cells come back") {
  const uint64_t before = Cells::in_use();
  {
    Leases leases;
    MetricsRegistry registry;
    Family& family = registry.family({.name = "x", .help = "", .kind = Kind::gauge});
    registry.gauge(family, {{"a", "1"}}, &leases);
    registry.gauge(family, {{"a", "2"}});
    CHECK(Cells::in_use() == before + 2);
  }
  CHECK(Cells::in_use() == before);
}

TEST_CASE("past a family's cap all further series are one, and the refusals are counted") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "many_total", .help = "", .cap = 2});
  for (const char* name : {"a", "b", "c", "d"}) registry.counter(family, {{"n", name}}).add();
  const auto samples = parse(registry.expose());
  CHECK(samples.size() == 3);
  CHECK(samples.at("many_total{n=\"_other\"}") == 2);
  CHECK(registry.series_refused() == 2);
}

TEST_CASE("a sparse family shows only series in which something happened") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "s_total", .help = "", .sparse = true});
  registry.counter(family, {{"code", "200"}}).add();
  registry.counter(family, {{"code", "500"}});
  CHECK(parse(registry.expose()).size() == 1);
}

TEST_CASE("values that stand elsewhere are read at collection, until their lease ends") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "inflight", .help = "", .kind = Kind::gauge});
  Leases leases;
  int value = 4;
  registry.watch(
      family,
      [&](const MetricsRegistry::Emit& emit) {
        emit({{"worker", "w"}}, value);
      },
      &leases);
  CHECK(parse(registry.expose()).at("inflight{worker=\"w\"}") == 4);
  value = 5;
  CHECK(parse(registry.expose()).at("inflight{worker=\"w\"}") == 5);
  leases.clear();
  CHECK(registry.expose().empty());
}

TEST_CASE("names that Prometheus would refuse are refused") {
  MetricsRegistry registry;
  for (const char* name : {"", "9a", "a-b", "a b", "a\xc3\xa4"}) {
    CAPTURE(name);
    CHECK_THROWS_AS(registry.family({.name = name, .help = ""}), std::invalid_argument);
  }
  Family& fine = registry.family({.name = "fine_total", .help = ""});
  for (const char* label : {"", "__own", "a:b", "1"}) {
    CAPTURE(label);
    CHECK_THROWS_AS(registry.counter(fine, {{label, "x"}}), std::invalid_argument);
  }
}

TEST_CASE("a family cannot be two kinds, nor a series of a kind its family is not") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "one", .help = "", .kind = Kind::gauge});
  CHECK(&registry.family({.name = "one", .help = "", .kind = Kind::gauge}) == &family);
  CHECK_THROWS_AS(registry.family({.name = "one", .help = ""}), std::invalid_argument);
  CHECK_THROWS_AS(registry.counter(family), std::invalid_argument);
}

TEST_CASE("collecting, counting and series that come and go do not disturb each other") {
  MetricsRegistry registry;
  Family& family = registry.family({.name = "busy_total", .help = ""});
  Family& sizes =
      registry.family({.name = "sizes", .help = "", .kind = Kind::histogram, .bounds = {1, 2, 3}});
  const Counter counter = registry.counter(family);
  const Histogram histogram = registry.histogram(sizes);
  constexpr int threads = 2, rounds = 20000;
  std::atomic<int> running{threads};
  std::vector<std::thread> writers;
  for (int i = 0; i < threads; ++i) {
    writers.emplace_back([&] {
      for (int n = 0; n < rounds; ++n) {
        counter.add();
        histogram.observe(n % 5);
      }
      --running;
    });
  }
  std::thread churn([&] {
    for (int n = 0; running.load() > 0; ++n) {
      Leases leases;
      registry.counter(family, {{"worker", std::to_string(n % 7)}}, &leases).add();
    }
  });
  while (running.load() > 0) (void)registry.expose();
  for (auto& writer : writers) writer.join();
  churn.join();
  const auto samples = parse(registry.expose());
  CHECK(samples.at("busy_total") == threads * rounds);
  CHECK(samples.at("sizes_count") == threads * rounds);
}

}  // namespace
}  // namespace tidegate::telemetry
