#include "telemetry/log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace tidegate::telemetry {
namespace {

// A log into a pipe; read() ends it and gives what it wrote.
struct LogToPipe {
  explicit LogToPipe(log::Options options) {
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    options.fd = ends[1];
    log::start(options);
  }
  std::string read() {
    std::string all;
    std::thread reader([&] {
      char part[4096];
      for (ssize_t n = 0; (n = ::read(ends[0], part, sizeof part)) > 0;)
        all.append(part, static_cast<size_t>(n));
    });
    log::stop();
    ::close(ends[1]);
    reader.join();
    ::close(ends[0]);
    return all;
  }
  int ends[2];
};

TEST_CASE("a text line has time, level, message and fields") {
  LogToPipe out({});
  log::warn("engine refused",
            {{"worker", "http://a:1"}, {"try", 2}, {"why", "not \"now\""}, {"ok", false}, {"s", 0.5}});
  const std::string line = out.read();
  CHECK(line.substr(24) ==
        " warn  engine refused worker=http://a:1 try=2 why=\"not \\\"now\\\"\" ok=false s=0.5\n");
}

TEST_CASE("a JSON line is an object with the same") {
  LogToPipe out({.format = log::Format::json});
  log::error("bad\nthing", {{"count", uint64_t{7}}, {"name", std::string("x")}, {"ok", true}});
  const auto line = nlohmann::json::parse(out.read());
  CHECK(line["level"] == "error");
  CHECK(line["message"] == "bad\nthing");
  CHECK(line["count"] == 7);
  CHECK(line["name"] == "x");
  CHECK(line["ok"] == true);
  CHECK(line["time"].get<std::string>().size() == 24);
}

TEST_CASE("what a client sends cannot begin a line of its own") {
  LogToPipe out({});
  log::info("refused", {{"path", "/x\n2026 error forged"}});
  const std::string text = out.read();
  CHECK(text.find('\n') == text.size() - 1);
}

TEST_CASE("lines below the level are not written") {
  LogToPipe out({.level = log::Level::warn});
  log::info("quiet");
  log::debug("quieter");
  log::set_level(log::Level::debug);
  log::debug("heard");
  const std::string text = out.read();
  CHECK(text.find("quiet") == std::string::npos);
  CHECK(text.find("heard") != std::string::npos);
  log::set_level(log::Level::info);
}

TEST_CASE("a line longer than a slot is cut and still one line") {
  LogToPipe out({});
  log::info(std::string(5000, 'x'), {{"k", "v"}});
  const std::string text = out.read();
  CHECK(text.size() <= 1024);
  CHECK(text.back() == '\n');
}

TEST_CASE("a reader that does not read makes lines drop, not writers wait, and one line says how many") {
  const uint64_t before = log::dropped();
  LogToPipe out({.lines = 8});
  // More than the pipe (64 KiB) and the ring hold together.
  const std::string long_text(900, 'x');
  for (int i = 0; i < 300; ++i) log::info(long_text);
  while (log::dropped() == before) log::info(long_text);
  const uint64_t lost = log::dropped() - before;
  CHECK(lost > 0);
  const std::string text = out.read();
  uint64_t told = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find("log lines lost");
    if (at != std::string::npos) told += std::stoull(line.substr(line.find("lines=") + 6));
  }
  CHECK(told == lost);
}

TEST_CASE("many threads write whole lines") {
  LogToPipe out({.lines = 4096});
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 100; ++i) log::info("hello", {{"i", i}});
    });
  }
  for (auto& thread : threads) thread.join();
  std::istringstream lines(out.read());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    CHECK(line.substr(24).starts_with(" info  hello i="));
  }
  CHECK(count == 300);
}

TEST_CASE("a limited call site passes a burst a window and counts the rest") {
  log::Limit limit(2, 1000);
  CHECK(limit.pass(5000));
  CHECK(limit.pass(5001));
  CHECK_FALSE(limit.pass(5002));
  CHECK_FALSE(limit.pass(5999));
  CHECK(limit.pass(6000));
  CHECK(limit.suppressed() == 2);
  CHECK(limit.suppressed() == 0);
}

}  // namespace
}  // namespace tidegate::telemetry
