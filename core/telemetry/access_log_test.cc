#include "telemetry/access_log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace tidegate::telemetry {
namespace {

using nlohmann::json;

struct Folder {
  Folder() {
    char name[] = "/tmp/access_log_test.XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::vector<json> lines(const std::string& name) const {
    std::ifstream in(path + "/" + name);
    std::vector<json> out;
    for (std::string line; std::getline(in, line);) out.push_back(json::parse(line));
    return out;
  }
  std::string path;
};

AccessRecord record() {
  AccessRecord r;
  r.unix_ms = 1767225599001;
  r.request_id = "req-1";
  r.client = "127.0.0.1";
  r.method = "POST";
  r.path = "/v1/chat/completions";
  r.model = "llama-3-8b";
  r.status = 200;
  return r;
}

// Waits for what another thread will do, at most ten seconds.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 10000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return condition();
}

TEST_CASE("a request's line says what came, where it went, and what it took") {
  AccessRecord r = record();
  const AccessLeg legs[] = {{"http://p:1", "refused", 0}, {"http://d:2", "done", 200}};
  r.stream = true;
  r.route = "*";
  r.policy = "power_of_two";
  r.legs = legs;
  r.attempts = 2;
  r.prompt_tokens = 10;
  r.output_tokens = 20;
  r.ttft_us = 1500;
  r.total_us = 25000;
  r.overhead_us = 40;
  r.bytes_in = 100;
  r.bytes_out = 2000;
  char line[1024];
  const json read = json::parse(std::string(line, format_access(r, line, sizeof line)));
  CHECK(read ==
        json::parse(R"({"time":"2025-12-31T23:59:59.001Z","request_id":"req-1","status":200,"stream":true,
    "attempts":2,"prompt_tokens":10,"output_tokens":20,"ttft_ms":1.5,"total_ms":25.0,"overhead_us":40,"bytes_in":100,
    "bytes_out":2000,"client":"127.0.0.1","method":"POST","route":"*","policy":"power_of_two","model":"llama-3-8b",
    "path":"/v1/chat/completions","workers":[{"worker":"http://p:1","outcome":"refused"},
    {"worker":"http://d:2","outcome":"done","status":200}]})"));
}

TEST_CASE("unknown numbers are left out: absent cached tokens are not 0") {
  char line[1024];
  const json read = json::parse(std::string(line, format_access(record(), line, sizeof line)));
  for (const char* key :
       {"cached_tokens", "prompt_tokens", "output_tokens", "ttft_ms", "overhead_us", "error", "workers"}) {
    CAPTURE(key);
    CHECK_FALSE(read.contains(key));
  }
}

TEST_CASE("a request that overfills its line still gives valid JSON with all its numbers") {
  const std::string longest(5000, '"');
  std::vector<AccessLeg> legs(16, AccessLeg{longest, longest, 200});
  AccessRecord r = record();
  r.request_id = r.client = r.method = r.path = r.model = r.error = r.route = r.policy = longest;
  r.legs = legs;
  r.prompt_tokens = r.cached_tokens = r.output_tokens = r.ttft_us = r.total_us = r.overhead_us =
      INT64_MAX / 2;
  for (const size_t size : {512, 1024, 4096}) {
    std::string line(size, '#');
    const json read =
        json::parse(line.substr(0, 0) + std::string(line.data(), format_access(r, line.data(), size)));
    CAPTURE(size);
    for (const char* key : {"status", "prompt_tokens", "total_ms", "bytes_out"}) CHECK(read.contains(key));
  }
}

TEST_CASE("lines reach the file, also those written just before the end") {
  const Folder folder;
  {
    AccessLog log({.path = folder.path + "/a"});
    for (int i = 0; i < 200; ++i) {
      AccessRecord r = record();
      r.status = 200 + i;
      log.write(r);
    }
  }
  const auto lines = folder.lines("a");
  REQUIRE(lines.size() == 200);
  for (int i = 0; i < 200; ++i) CHECK(lines[static_cast<size_t>(i)]["status"] == 200 + i);
}

TEST_CASE("after a rotation lines go to the new file") {
  const Folder folder;
  const std::string path = folder.path + "/a";
  {
    AccessLog log({.path = path, .gather_ms = 1});
    log.write(record());
    REQUIRE(eventually([&] { return log.written() == 1; }));
    std::filesystem::rename(path, path + ".1");
    log.reopen();
    REQUIRE(eventually([&] { return std::filesystem::exists(path); }));
    log.write(record());
    log.write(record());
  }
  CHECK(folder.lines("a.1").size() == 1);
  CHECK(folder.lines("a").size() == 2);
}

TEST_CASE("a path that cannot be opened is refused at the start") {
  CHECK_THROWS_AS(AccessLog({.path = "/nowhere/at/all"}), std::system_error);
}

TEST_CASE("a full ring drops lines without waiting, and the log says how many") {
  const Folder folder;
  const std::string path = folder.path + "/pipe";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  const int reader = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(reader >= 0);
  std::string text;
  uint64_t dropped = 0, written = 0;
  std::thread drain;
  {
    AccessLog log({.path = path, .lines = 4, .gather_ms = 0});
    // Nobody reads: the pipe (64 KiB) fills, the writer blocks, the ring fills.
    uint64_t sent = 0;
    while (log.dropped() < 3) {
      log.write(record());
      ++sent;
    }
    dropped = log.dropped();
    drain = std::thread([&] {
      char part[4096];
      while (text.find("\"dropped\"") == std::string::npos || text.back() != '\n') {
        const ssize_t n = ::read(reader, part, sizeof part);
        if (n <= 0) return;
        text.append(part, static_cast<size_t>(n));
      }
    });
    REQUIRE(eventually([&] { return log.written() == sent - dropped; }));
    written = log.written();
  }
  drain.join();
  ::close(reader);
  CHECK(written > 0);
  const size_t at = text.find("\"dropped\":");
  CHECK(std::stoull(text.substr(at + 10)) <= dropped);
}

TEST_CASE("threads write at once, and every line is whole") {
  const Folder folder;
  constexpr int threads = 3, each = 400;
  uint64_t dropped = 0;
  {
    AccessLog log({.path = folder.path + "/a", .lines = 64});
    std::vector<std::thread> writers;
    for (int t = 0; t < threads; ++t) {
      writers.emplace_back([&] {
        for (int i = 0; i < each; ++i) log.write(record());
      });
    }
    for (auto& writer : writers) writer.join();
    dropped = log.dropped();
  }
  uint64_t whole = 0, told = 0;
  for (const json& line : folder.lines("a")) {
    if (line.contains("dropped")) {
      told += line["dropped"].get<uint64_t>();
    } else {
      ++whole;
    }
  }
  CHECK(whole + dropped == threads * each);
  CHECK(told == dropped);
}

}  // namespace
}  // namespace tidegate::telemetry
