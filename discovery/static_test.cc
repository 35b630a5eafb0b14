#include <doctest/doctest.h>

#include <tidegate/testing.hpp>

using tg::testing::DiscoveryUnderTest;
using tg::testing::FakeHost;

TEST_CASE("a worker is published with all that the configuration says of it") {
  FakeHost host(R"({"workers": [{"url": "http://10.0.0.1:8000", "id": "a", "models": ["llama", "qwen"],
    "role": "prefill", "bootstrap_port": 8998, "weight": 2.5, "zone": "z1", "labels": {"gpu": "h100", "rack": "7"},
    "health_path": "/ready", "key": "engine-key"}]})");
  DiscoveryUnderTest source(host, tg_plugin_v1(), "static");
  source.run();
  auto workers = source.workers();
  REQUIRE(workers.size() == 1);
  const tg::Worker& w = workers.at("a");
  CHECK(w.url == "http://10.0.0.1:8000");
  CHECK(w.models == std::vector<std::string>{"llama", "qwen"});
  CHECK(w.role == TG_ROLE_PREFILL);
  CHECK(w.bootstrap_port == 8998);
  CHECK(w.weight_milli == 2500);
  CHECK(w.zone == "z1");
  CHECK(w.labels == std::vector<std::pair<std::string, std::string>>{{"gpu", "h100"}, {"rack", "7"}});
  CHECK(w.health_path == "/ready");
  CHECK(w.secret_ref == "engine-key");
}

TEST_CASE("a bare url is enough") {
  FakeHost host(R"({"workers": [{"url": "http://a:1"}, {"url": "http://b:1"}]})");
  DiscoveryUnderTest source(host, tg_plugin_v1(), "static");
  source.run();
  auto workers = source.workers();
  REQUIRE(workers.size() == 2);
  CHECK(workers.at("http://a:1").weight_milli == 1000);
  CHECK(workers.at("http://a:1").role == TG_ROLE_ANY);
  CHECK(workers.at("http://a:1").models.empty());
}

TEST_CASE("it publishes once, says that its list is whole, and is done") {
  FakeHost host(R"({"workers": [{"url": "http://a:1"}]})");
  DiscoveryUnderTest source(host, tg_plugin_v1(), "static");
  source.run();
  source.wait_synced();
  CHECK(source.publications == 1);
}

TEST_CASE("a worker that would need TLS is refused, with the place") {
  FakeHost host(R"({"workers": [{"url": "http://a:1"}, {"url": "https://b:1"}]})");
  try {
    DiscoveryUnderTest source(host, tg_plugin_v1(), "static");
    FAIL("it was accepted");
  } catch (const tg::Error& error) {
    CHECK(error.where() == "/workers/1/url");
    CHECK(std::string(error.what()).find("TLS to workers is not served") != std::string::npos);
  }
}

TEST_CASE("two workers of one name are refused") {
  FakeHost host(R"({"workers": [{"url": "http://a:1"}, {"url": "http://a:1"}]})");
  try {
    DiscoveryUnderTest source(host, tg_plugin_v1(), "static");
    FAIL("it was accepted");
  } catch (const tg::Error& error) {
    CHECK(error.where() == "/workers/1");
    CHECK(std::string(error.what()).find("stands twice") != std::string::npos);
  }
}

TEST_CASE("once stop is wanted it says nothing more") {
  FakeHost host(R"({"workers": [{"url": "http://a:1"}]})");
  DiscoveryUnderTest source(host, tg_plugin_v1(), "static");
  source.request_stop();
  source.run();
  CHECK_FALSE(source.is_synced());
}
