#include "plugin/host.h"

#include <memory>
#include <thread>

#include <doctest/doctest.h>

#include "plugin/out_text.h"
#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

using testing::FakeEnvironment;

struct Fixture {
  FakeEnvironment environment;
  std::unique_ptr<InstanceHost> host = make("{}");
  std::unique_ptr<InstanceHost> make(const std::string& config) {
    return std::make_unique<InstanceHost>(
        environment,
        InstanceHost::Parts{.component = "my-policy", .instance = "route1", .config_json = config});
  }
  template <class T>
  const T* service(const char* id) {
    return static_cast<const T*>(host->abi()->get_interface(host->abi(), id));
  }
};

TEST_CASE_FIXTURE(Fixture, "a host says who it is and whom it hosts") {
  const tg_host* abi = host->abi();
  CHECK(abi->size == sizeof(tg_host));
  CHECK(abi->abi_major == TG_ABI_MAJOR);
  CHECK(std::string(abi->product) == "tidegate");
  CHECK(std::string(abi->component) == "my-policy");
  CHECK(std::string(abi->instance) == "route1");
  CHECK(abi->get_interface(abi, "tg.host.oracle/1") == nullptr);
  CHECK(abi->get_interface(abi, TG_HOST_POLICY) == nullptr);  // this is no policy's host
}

TEST_CASE_FIXTURE(Fixture,
                  "configuration is read by JSON pointer, with the caller's default for anything else") {
  host = make(
      R"({"on":true,"n":-3,"x":0.5,"s":"text","list":[1,{"k/~":"v"}],"t":"250ms","sec":1.5,"bad":"5 apples"})");
  const tg_host* h = host->abi();
  const auto* c = service<tg_host_config>(TG_HOST_CONFIG);
  CHECK(c->boolean(h, tg_cstr("/on"), false));
  CHECK(c->boolean(h, tg_cstr("/n"), true));
  CHECK(c->integer(h, tg_cstr("/n"), 0) == -3);
  CHECK(c->integer(h, tg_cstr("/none"), 9) == 9);
  CHECK(c->number(h, tg_cstr("/x"), 0) == 0.5);
  CHECK(c->number(h, tg_cstr("/n"), 0) == -3);
  CHECK(view(c->string(h, tg_cstr("/s"), tg_cstr("?"))) == "text");
  CHECK(view(c->string(h, tg_cstr("/list/1/k~1~0"), tg_cstr("?"))) == "v");
  CHECK(view(c->string(h, tg_cstr("/n"), tg_cstr("?"))) == "?");
  CHECK(c->duration_ms(h, tg_cstr("/t"), 0) == 250);
  CHECK(c->duration_ms(h, tg_cstr("/sec"), 0) == 1500);
  CHECK(c->duration_ms(h, tg_cstr("/bad"), 7) == 7);
  CHECK(c->count(h, tg_cstr("/list")) == 2);
  CHECK(c->count(h, tg_cstr("/s")) == 0);
  CHECK(view(c->key(h, tg_cstr("/list/1"), 0)) == "k/~");
  CHECK(view(c->key(h, tg_cstr("/list/1"), 1)).empty());
  CHECK(view(c->key(h, tg_cstr("/list"), 0)).empty());
  CHECK(c->integer(h, tg_cstr("no pointer"), 4) == 4);
  OutText json;
  CHECK(c->json(h, tg_cstr("/list"), json.abi()) == TG_OK);
  CHECK(json.text() == R"([1,{"k/~":"v"}])");
  CHECK(c->json(h, tg_cstr("/none"), json.abi()) == TG_E_NOT_FOUND);
}

TEST_CASE("durations are a number and one of ms, s, m, h") {
  CHECK(parse_duration_ms("5s") == 5'000);
  CHECK(parse_duration_ms("2") == 2'000);
  CHECK(parse_duration_ms("1.5m") == 90'000);
  CHECK(parse_duration_ms("1h") == 3'600'000);
  for (const char* bad : {"", "s", "-1s", "5 s", "5d", "1m30s"})
    CHECK_FALSE(parse_duration_ms(bad).has_value());
}

TEST_CASE_FIXTURE(Fixture, "members that create() could have read and did not are told") {
  host = make(R"({"used":1,"mistyped":2,"part":{"inner":3},"nested":{"a":1,"b":2}})");
  const auto* c = service<tg_host_config>(TG_HOST_CONFIG);
  c->integer(host->abi(), tg_cstr("/used"), 0);
  c->integer(host->abi(), tg_cstr("/nested/a"), 0);
  OutText part;
  c->json(host->abi(), tg_cstr("/part"), part.abi());
  host->end_create();
  CHECK(host->unread_keys() == std::vector<std::string>{"/mistyped", "/nested/b"});
  CHECK(c->integer(host->abi(), tg_cstr("/used"), 5) == 5);  // create() is over
}

TEST_CASE_FIXTURE(Fixture, "an instance that parses its configuration itself has no unread members") {
  host = make(R"({"a":1})");
  host->end_create();
  CHECK(host->unread_keys().empty());
}

TEST_CASE_FIXTURE(Fixture, "secrets are resolved by name") {
  const auto* c = service<tg_host_config>(TG_HOST_CONFIG);
  OutText secret;
  CHECK(c->secret(host->abi(), tg_cstr("token"), secret.abi()) == TG_OK);
  CHECK(secret.text() == "s3cret");
  CHECK(c->secret(host->abi(), tg_cstr("other"), secret.abi()) == TG_E_NOT_FOUND);
}

TEST_CASE_FIXTURE(Fixture, "log lines carry the instance and the fields") {
  const auto* log = service<tg_host_log>(TG_HOST_LOG);
  const tg_kv fields[] = {{tg_cstr("worker"), tg_cstr("w1")}};
  CHECK_FALSE(log->enabled(host->abi(), TG_LOG_DEBUG));
  log->write(host->abi(), TG_LOG_DEBUG, tg_cstr("quiet"), nullptr, 0);
  log->write(host->abi(), TG_LOG_WARN, tg_cstr("loud"), fields, 1);
  REQUIRE(environment.logs.size() == 1);
  CHECK(environment.logs[0].instance == "route1");
  CHECK(environment.logs[0].fields.at("worker") == "w1");
}

TEST_CASE_FIXTURE(Fixture, "metrics get prefix and instance; none is accepted everywhere; there is a cap") {
  const auto* m = service<tg_host_metrics>(TG_HOST_METRICS);
  const tg_host* h = host->abi();
  const tg_metric picks = m->counter(h, tg_cstr("picks"), tg_cstr("help"), nullptr, 0);
  REQUIRE(picks != 0);
  CHECK(environment.fake_metrics.defined[0].name == "tidegate_plugin_my_policy_picks");
  CHECK(environment.fake_metrics.defined[0].labels[0] ==
        std::pair<std::string, std::string>("instance", "route1"));
  m->add(h, picks, 2);
  m->add(h, 0, 2);
  CHECK(environment.fake_metrics.values == std::map<std::uint64_t, double>{{picks, 2.0}});
  const double falling[] = {2, 1};
  CHECK(m->histogram(h, tg_cstr("h"), tg_cstr(""), nullptr, 0, falling, 2) == 0);
  for (int i = 0; i < 255; ++i) CHECK(m->gauge(h, tg_cstr("g"), tg_cstr(""), nullptr, 0) != 0);
  CHECK(m->gauge(h, tg_cstr("g"), tg_cstr(""), nullptr, 0) == 0);
}

TEST_CASE_FIXTURE(Fixture, "a posted function runs on control, but not after the instance's end") {
  const auto* control = service<tg_host_control>(TG_HOST_CONTROL);
  int runs = 0;
  const auto count = [](void* n) { ++*static_cast<int*>(n); };
  std::thread([&] { CHECK(control->post(host->abi(), count, &runs) == TG_OK); }).join();
  CHECK(runs == 0);
  environment.run_posted();
  CHECK(runs == 1);
  control->post(host->abi(), count, &runs);
  host.reset();
  environment.run_posted();
  CHECK(runs == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "timers: once or again and again, cancelled also from within and by the instance's end") {
  const auto* control = service<tg_host_control>(TG_HOST_CONTROL);
  static struct Self {
    const tg_host_control* control;
    const tg_host* host;
    std::uint64_t timer;
    int runs;
  } self;
  self = {control, host->abi(), 0, 0};
  self.timer = control->timer(
      host->abi(), 10, 10,
      [](void* s) {
        auto* it = static_cast<Self*>(s);
        if (++it->runs == 2) it->control->cancel(it->host, it->timer);
      },
      &self);
  const auto fire = [&](std::uint64_t id) {
    const auto [task, argument] = environment.timers.at(id);
    task(argument);
  };
  fire(self.timer);
  fire(self.timer);
  CHECK(self.runs == 2);
  CHECK(environment.timers.empty());
  control->timer(
      host->abi(), 10, 10, [](void*) {}, nullptr);
  host.reset();
  CHECK(environment.timers.empty());
}

TEST_CASE_FIXTURE(Fixture, "control says which thread it is and passes rebuilds on") {
  const auto* control = service<tg_host_control>(TG_HOST_CONTROL);
  CHECK(control->on_control_thread(host->abi()));
  std::thread([&] { CHECK_FALSE(control->on_control_thread(host->abi())); }).join();
  control->rebuild(host->abi());
  CHECK(environment.rebuilds == 1);
}

TEST_CASE_FIXTURE(Fixture, "time is the environment's; random numbers differ") {
  const auto* clock = service<tg_host_clock>(TG_HOST_CLOCK);
  environment.now_ns = 42;
  CHECK(clock->monotonic_ns(host->abi()) == 42);
  CHECK(clock->random(host->abi()) != clock->random(host->abi()));
}

}  // namespace
}  // namespace tidegate::plugin
