#include "plugin/discovery_runner.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>

#include <doctest/doctest.h>

#include "plugin/registry.h"
#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

class Listener final : public DiscoveryListener {
 public:
  void on_publish(const std::string& source, std::vector<WorkerDesc> workers, bool allow_empty) override {
    std::string text = "publish " + source + (allow_empty ? " (empty allowed)" : "");
    for (const WorkerDesc& w : workers)
      text += " " + w.id + "=" + w.url + "," + std::to_string(w.role) + "," + std::to_string(w.weight_milli);
    say(text);
  }
  void on_upsert(const std::string&, WorkerDesc w) override {
    say("upsert " + w.id + (w.draining ? " draining" : ""));
  }
  void on_remove(const std::string&, std::string id, std::string reason) override {
    say("remove " + id + " " + reason);
  }
  void on_synced(const std::string&) override { say("synced"); }
  void on_failed(const std::string&, std::string text) override { say("failed " + text); }

  void say(const std::string& text) {
    const std::scoped_lock lock(mutex);
    said.push_back(text);
    wake.notify_all();
  }
  void await(std::size_t count) {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return said.size() >= count; });
  }
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::string> said;
};

TEST_CASE("a source is run, run again when it fails, and stopped; the listener hears it in order") {
  const testing::PluginDir dir;
  dir.install("source");
  testing::FakeEnvironment environment;
  Registry registry({.path = {dir.path()}}, &environment);
  Listener listener;
  auto made = DiscoveryRunner::create(**registry.find(TG_DISCOVERY_INTERFACE, "source"), "fleet", "{}",
                                      environment, listener, {.first_pause_ms = 1, .longest_pause_ms = 2});
  REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
  auto runner = *std::move(made);
  runner->start();
  listener.await(6);
  CHECK_FALSE(runner->ended());
  runner->request_stop();
  runner.reset();
  CHECK(listener.said ==
        std::vector<std::string>{
            "publish fleet a=http://10.0.0.1:8000,0,1000 b=http://[fd00::1]:8443,2,1000", "synced",
            "upsert a draining", "remove b gone",
            ("failed worker 'b': expected a url like http://host:port, found 'ftp://10.0.0.1'; leave "
             "out path, query and user"),
            "failed lost the watch"});
}

// One that goes wrong, as configured, and what the listener hears.
struct Odd {
  const testing::PluginDir dir;
  testing::FakeEnvironment environment;
  Listener listener;
  std::unique_ptr<DiscoveryRunner> start(const char* config, DiscoveryRunner::Options options) {
    dir.install("odd_source");
    Registry registry({.path = {dir.path()}}, &environment);
    auto made = DiscoveryRunner::create(**registry.find(TG_DISCOVERY_INTERFACE, "odd_source"), "fleet",
                                        config, environment, listener, options);
    REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
    auto runner = *std::move(made);
    runner->start();
    return runner;
  }
};

TEST_CASE_FIXTURE(Odd, "a run() that throws has failed, and is run again") {
  const auto runner = start(R"({"throw":1})", {.first_pause_ms = 1, .longest_pause_ms = 1});
  listener.await(3);
  CHECK(listener.said[0] == "failed run() threw an exception");
  CHECK(listener.said[2] == "failed run() threw an exception");
  CHECK_FALSE(runner->ended());
}

TEST_CASE_FIXTURE(Odd, "a list with one bad record, or one id twice, is refused as a whole") {
  const auto runner = start(R"({"bad_list":1})", {});
  while (!runner->ended()) std::this_thread::yield();
  CHECK(listener.said ==
        std::vector<std::string>{
            "publish fleet build-1=http://127.0.0.1:1,0,1000 b=http://127.0.0.1:2,0,1000", "synced"});
  CHECK(environment.count_logs("a record of a discovery source was refused") == 2);
}

TEST_CASE("the pause doubles with each failure up to the longest, and a run that lasted begins anew") {
  DiscoveryRunner::Backoff pause({.first_pause_ms = 100, .longest_pause_ms = 300});
  CHECK(pause.after(0) == 100);
  CHECK(pause.after(1) == 200);
  CHECK(pause.after(300) == 300);
  CHECK(pause.after(300) == 300);
  CHECK(pause.after(301) == 100);
  CHECK(pause.after(0) == 200);
}

struct Stubborn {
  const testing::PluginDir dir;
  testing::FakeEnvironment environment;
  Listener listener;
  std::atomic<int> release{0}, destroyed{0};

  std::unique_ptr<DiscoveryRunner> start(DiscoveryRunner::Options options) {
    dir.install("stubborn");
    Registry registry({.path = {dir.path()}}, &environment);
    const auto address = [](const std::atomic<int>& flag) {
      return std::to_string(reinterpret_cast<std::intptr_t>(&flag));
    };
    auto made = DiscoveryRunner::create(
        **registry.find(TG_DISCOVERY_INTERFACE, "stubborn"), "fleet",
        R"({"release":)" + address(release) + R"(,"destroyed":)" + address(destroyed) + "}", environment,
        listener, options);
    REQUIRE_MESSAGE(made, (made ? "" : made.refusal().text));
    auto runner = *std::move(made);
    runner->start();
    listener.await(1);
    return runner;
  }
  static constexpr const char* left_line =
      "a discovery source ignores its stop: run() has not returned in time, its thread is left behind";
};

TEST_CASE_FIXTURE(Stubborn,
                  "a run() that ignores its stop is named and left behind until it returns after all") {
  auto runner = start({.stop_limit_ms = 1});
  runner.reset();
  CHECK(DiscoveryRunner::left_behind() == 1);
  const testing::LogLine line = environment.log_of(left_line);
  CHECK(line.instance == "fleet");
  CHECK(line.fields.at("plugin") == "stubborn");
  CHECK(line.fields.at("limit_ms") == "1");
  CHECK(destroyed == 0);
  release = 1;
  while (environment.run_posted() == 0) std::this_thread::yield();
  CHECK(destroyed == 1);
  CHECK(DiscoveryRunner::left_behind() == 0);
}

TEST_CASE_FIXTURE(Stubborn, "a run() that returns within the limit is waited for") {
  auto runner = start({.stop_limit_ms = 600'000});
  runner->request_stop();
  CHECK_FALSE(runner->overdue());
  release = 1;
  runner.reset();
  CHECK(destroyed == 1);
  CHECK(DiscoveryRunner::left_behind() == 0);
  CHECK(environment.count_logs(left_line) == 0);
}

TEST_CASE("records of workers are checked") {
  const auto refusal = [](const std::function<void(tg_worker_desc&)>& change) {
    tg_worker_desc w{};
    w.size = sizeof w;
    w.id = tg_cstr("w");
    w.url = tg_cstr("http://h:1");
    change(w);
    const auto worker = read_worker(w);
    return worker ? std::string() : worker.refusal().text;
  };
  CHECK(refusal([](auto&) {}).empty());
  CHECK(refusal([](auto& w) { w.url = tg_cstr("http://[::1]:1"); }).empty());
  CHECK(refusal([](auto& w) { w.url = tg_cstr("https://[::1]"); }).find("TLS to workers is not served") !=
        std::string::npos);
  CHECK(refusal([](auto& w) { w.role = 99; }).empty());
  CHECK(refusal([](auto& w) { w.size = 8; }) != "");
  CHECK(refusal([](auto& w) { w.id = tg_cstr(""); }) != "");
  CHECK(refusal([](auto& w) { w.id = tg_cstr("a\nb"); }) != "");
  CHECK(refusal([](auto& w) { w.health_path = tg_cstr("health"); }) != "");
  CHECK(refusal([](auto& w) { w.model_count = 1; }) != "");
  CHECK(refusal([](auto& w) { w.bootstrap_port = 70'000; }) ==
        "worker 'w': expected a bootstrap port of at most 65535, found 70000; correct it");
  for (const char* url : {"", "h:1", "http://", "http://u:p@h:1", "http://h:1/path", "http://h:1?q",
                          "http://h:99999", "ftp://h:1", "http://h h:1"})
    CHECK_MESSAGE(refusal([&](auto& w) { w.url = tg_cstr(url); }) ==
                      "worker 'w': expected a url like http://host:port, found '" + std::string(url) +
                          "'; leave out path, query and user",
                  url);
}

}  // namespace
}  // namespace tidegate::plugin
