// The testing kit: it catches what breaks the contract, and keeps to it itself.
#include <doctest/doctest.h>

#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::Breach;
using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::Json;
using tg::testing::PolicyUnderTest;
using tg::testing::RequestSpec;

namespace {

template <auto How>
struct Rule {
  static constexpr auto name = "rule";
  static constexpr auto summary = "picks by a function of the test";
  void pick(tg::Pick p) noexcept { How(p); }
};

// What the kit says of a policy that picks so, in a fleet of two; "" when it is content.
template <auto How>
std::string verdict_on() {
  FakeHost host;
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, tg::policy<Rule<How>>());
  try {
    policy.pick();
    return "";
  } catch (const Breach& breach) {
    return breach.what();
  }
}

constexpr auto select_first = [](tg::Pick p) { p.select(p.candidates()[0]); };

}  // namespace

TEST_CASE("a plain pick is content") { CHECK(verdict_on<select_first>() == ""); }

TEST_CASE("a slot outside the candidates is a breach") {
  CHECK(verdict_on<[](tg::Pick p) { p.select(7); }>() == "slot 7 is not among the candidates");
}

TEST_CASE("two relayed legs, or none, are a breach") {
  CHECK(verdict_on<[](tg::Pick p) { p.add(0), p.add(1); }>() == "exactly one leg is relayed; here 2 are");
  CHECK(verdict_on<[](tg::Pick p) { p.add(0).drain(); }>() == "exactly one leg is relayed; here 0 are");
}

TEST_CASE("a capture from a leg that is not drained is a breach") {
  auto text = verdict_on<[](tg::Pick p) {
    static const tg_capture capture{1, 1, {"a", 1}, {}};
    p.add(0).discard();
    p.add(1).captures({&capture, 1});
  }>();
  CHECK(text == "leg 1 captures from leg 0, which is not drained");
}

TEST_CASE("an allocation in a pick is a breach") {
  CHECK(verdict_on<[](tg::Pick p) {
          static std::unique_ptr<int> kept;
          kept = std::make_unique<int>(1);
          p.select(0);
        }>() == "pick allocated memory");
}

TEST_CASE("load is counted from selection to the end") {
  FakeHost host;
  Fleet fleet(1);
  PolicyUnderTest policy(host, fleet, tg::policy<Rule<select_first>>());
  auto picked = policy.pick(RequestSpec{.prompt_tokens = 120});
  CHECK(fleet.live(0).inflight == 1);
  CHECK(fleet.live(0).inflight_tokens == 120);
  policy.finish(picked);
  CHECK(fleet.live(0).inflight == 0);
  CHECK(fleet.live(0).inflight_tokens == 0);
}

TEST_CASE("a freed slot comes back with the next generation, once no view shows it") {
  Fleet fleet(2, 2);
  auto view = fleet.view();
  fleet.remove(0);
  CHECK_THROWS_AS(fleet.add(), tg::Error);  // the view still shows slot 0
  view.reset();
  CHECK(fleet.add() == 0);
  CHECK(tg_info_of(&fleet.view()->snapshot, 0)->generation == 2);
}

TEST_CASE("a snapshot does not change when the fleet does") {
  Fleet fleet(3);
  auto before = fleet.view();
  fleet.remove(1);
  CHECK(before->snapshot.count == 3);
  CHECK(fleet.view()->snapshot.count == 2);
  CHECK(fleet.view()->snapshot.epoch > before->snapshot.epoch);
  CHECK(tg_info_of(&fleet.view()->snapshot, 1) == nullptr);
  CHECK(tg_info_of(&fleet.view()->snapshot, 2)->slot == 2);
}

TEST_CASE("candidates are the ready workers of the model and role, without those tried") {
  constexpr auto last = [](tg::Pick p) {
    p.select(p.candidates().back()).cookie(p.candidates().size() * 100 + p.candidates(TG_ROLE_DECODE).size());
  };
  FakeHost host;
  Fleet fleet(6);
  fleet.role(5, TG_ROLE_DECODE).state(4, TG_WORKER_DRAINING).change(3, [](auto& w) { w.model = "other"; });
  PolicyUnderTest policy(host, fleet, tg::policy<Rule<last>>());
  auto picked = policy.pick(RequestSpec{.exclude = {2}});
  CHECK(picked.slot() == 1);
  CHECK(picked.legs[0].cookie == 201);
}

TEST_CASE("configurations: pointers, defaults, unknown members") {
  FakeHost host(R"({"a": {"b": [1, 2.5, "x~y"]}, "t": "250ms", "s/l": true})");
  tg::Config config(tg::Host(host.get()), host.config_text());
  CHECK(config.number("/a/b/1", 0) == 2.5);
  CHECK(config.string("/a/b/2") == "x~y");
  CHECK(config.count("/a/b") == 3);
  CHECK(config.key("", 2) == "t");
  CHECK(config.key("", 3).empty());
  CHECK(config.boolean("/s~1l", false));
  CHECK(config.duration("/t", {}) == std::chrono::milliseconds(250));
  CHECK(config.integer("/none", 9) == 9);
  CHECK(config.json("/a") == R"({"b":[1,2.5,"x~y"]})");
  CHECK_FALSE(config.json("/none"));
  CHECK_THROWS_WITH_AS(config.secret("k"), doctest::Contains("no secret named 'k'"), tg::Error);
  const char* strict =
      R"({"additionalProperties": false, "properties": {"a": {}, "t": {}, "n": {"default": 5}}})";
  CHECK_THROWS_WITH_AS(host.apply_schema(strict), "the schema has no member 's/l'", tg::Error);
}

TEST_CASE("JSON that is not JSON is refused with its position") {
  CHECK_THROWS_WITH_AS(Json::parse("{\"a\" 1}"), "JSON at byte 5: expected ':'", tg::Error);
  CHECK_THROWS_AS(Json::parse("[1, 2"), tg::Error);
  CHECK_THROWS_AS(Json::parse("\"open"), tg::Error);
  CHECK_THROWS_AS(Json::parse("[] []"), tg::Error);
  CHECK(Json::parse(R"("é\n\"")").text == "\xc3\xa9\n\"");
}

TEST_CASE("log lines and metrics are kept") {
  FakeHost fake;
  tg::Host host(fake.get());
  host.warn("slow", {tg::kv("slot", "3")});
  CHECK(fake.lines.at(0).text == "slow");
  CHECK(fake.lines.at(0).fields.at("slot") == "3");
  auto hits = host.counter("hits", "cache hits", {tg::kv("kind", "full")});
  hits.add(), hits.add(2);
  CHECK(fake.metrics.at("hits{kind=full}") == 3);
  double bounds[] = {1, 2};
  host.histogram("size", "sizes", bounds).observe(1.5);
  CHECK(fake.metrics.at("size_sum") == 1.5);
  CHECK(fake.metrics.at("size_count") == 1);
  tg::Metric().add();  // one that was never made does nothing
}

TEST_CASE("posted calls run when the test says so") {
  struct Counter {
    void bump() { ++count; }
    int count = 0;
  } counter;
  FakeHost fake;
  tg::Host host(fake.get());
  CHECK(host.post<&Counter::bump>(&counter) == TG_OK);
  CHECK(counter.count == 0);
  CHECK(fake.run_posted() == 1);
  CHECK(counter.count == 1);
}

TEST_CASE("request memory is bounded, aligned and zeroed; headers are found in any case") {
  tg::testing::FakeRequest request(RequestSpec{.headers = {{"X-Key", "v"}}});
  CHECK(tg::view(request.header("x-kEY")) == "v");
  CHECK(request.header("x-other").len == 0);
  CHECK(request.allocate(1, 1) != nullptr);
  auto* number = static_cast<uint64_t*>(request.allocate(8, 8));
  CHECK(reinterpret_cast<uintptr_t>(number) % 8 == 0);
  CHECK(*number == 0);
  CHECK(request.allocate(65536, 1) == nullptr);
}

TEST_CASE("a day of traffic is the same for the same seed, and better for a better policy") {
  constexpr auto by_turn = [](tg::Pick p) { p.select(p.candidates()[p.id() % p.candidates().size()]); };
  auto day_of = [](const tg_component& component, uint64_t seed) {
    FakeHost host;
    Fleet fleet(4);
    PolicyUnderTest policy(host, fleet, component);
    return tg::testing::simulate(policy, {.requests = 2000, .per_second = 20, .seed = seed});
  };
  auto good = day_of(tg::policy<Rule<by_turn>>(), 1), bad = day_of(tg::policy<Rule<select_first>>(), 1);
  CHECK(good.mean_ttft_ms < bad.mean_ttft_ms);
  CHECK(good.spread < 1.01);
  CHECK(good.refused == 0);
  CHECK(day_of(tg::policy<Rule<by_turn>>(), 1).mean_ttft_ms == good.mean_ttft_ms);
  CHECK(day_of(tg::policy<Rule<by_turn>>(), 2).mean_ttft_ms != good.mean_ttft_ms);
}
