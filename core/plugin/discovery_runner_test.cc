#include "plugin/discovery_runner.h"

#include <condition_variable>
#include <cstring>
#include <mutex>

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
            "failed worker 'b': expected a url like http://host:port, found 'ftp://10.0.0.1'; leave "
            "out path, query and user",
            "failed lost the watch"});
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
