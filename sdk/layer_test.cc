// The C++ layer: what a class becomes across the C ABI.
#include <doctest/doctest.h>

#include <tidegate/testing.hpp>
#include <tidegate/testing/allocations.hpp>

using tg::testing::FakeHost;
using tg::testing::Fleet;
using tg::testing::PolicyUnderTest;

namespace {

struct First {  // the least that a policy must have
  static constexpr auto name = "first";
  static constexpr auto summary = "the first candidate";
  void pick(tg::Pick p) noexcept { p.select(p.candidates()[0]); }
};

struct Full {  // all that it may have
  static constexpr auto name = "full";
  static constexpr auto summary = "everything";
  static constexpr uint32_t flags = TG_CONCURRENT | TG_NEED_KEY;
  static constexpr uint64_t state_id = 42;
  static constexpr auto schema = R"({"type": "object", "additionalProperties": false,
    "properties": {"threshold": {"type": "number", "default": 0.5}}})";
  struct Table {
    uint32_t workers;
  };

  Full(tg::Host host, tg::Config config) : host_(host), threshold(config.number("/threshold", -1)) {
    if (threshold > 1) throw tg::Error(TG_E_CONFIG, "/threshold", "expected 0 to 1");
    if (threshold < -1) throw std::runtime_error("plain");
    timer_ = host.timer<&Full::tick>(this, std::chrono::seconds(1), std::chrono::seconds(1));
  }
  std::unique_ptr<Table> build(tg::Snapshot s) {
    if (refuse_build) throw tg::Error(TG_E_LIMIT, "", "too many workers");
    return std::make_unique<Table>(Table{s.count()});
  }
  void pick(tg::Pick p, const Table& table) noexcept {
    p.remember(table.workers);
    auto edits = p.edits(2);
    edits.set("room", p.number(table.workers)).drop("user");
    p.add(p.candidates()[0]).stage(TG_ROLE_PREFILL).drain().body(edits).cookie(1);
    auto captures = p.captures(1);
    if (!captures.empty()) captures[0] = {1, 1, tg::str("kv"), {}};
    p.add(p.candidates()[1]).relay().captures(captures).cookie(2);
    p.reason("both");
  }
  void complete(const tg_completion& c) noexcept { completed += c.cookie; }
  bool learn(std::span<const tg_record> batch) noexcept {
    for (auto& record : batch)
      if (auto* workers = tg::record_as<uint32_t>(record)) learned += *workers;
    return true;
  }
  void transform(tg::Transform t) noexcept { t.write(t.data()), t.write(t.earlier(0)); }
  uint32_t roles() const { return TG_ROLE_BIT(TG_ROLE_PREFILL) | TG_ROLE_BIT(TG_ROLE_DECODE); }
  uint32_t needs() const { return TG_NEED_PROMPT; }
  void adopt(Full& previous) { learned = previous.learned; }
  void export_state(tg::Out out) { out.write(std::to_string(learned)); }
  void import_state(std::string_view bytes) {
    if (bytes.empty()) throw tg::Error(TG_E_INVALID, "", "empty");
    learned = static_cast<uint32_t>(bytes.size());
  }
  void describe(tg::Out out) const { out.write("{}"); }
  void tick() { ++ticks; }

  tg::Host host_;
  tg::Timer timer_;
  double threshold;
  uint64_t completed = 0;
  uint32_t learned = 0, ticks = 0;
  bool refuse_build = false;
};

struct Nearest {
  static constexpr auto name = "nearest";
  static constexpr auto summary = "one for the first candidate";
  float score(tg::Request r, uint32_t slot) noexcept { return slot == r.candidates()[0] ? 1.0f : 0.0f; }
};

constexpr tg_component full = tg::policy<Full>();
Full& of(PolicyUnderTest& policy) { return static_cast<tg::detail::Instance<Full>*>(policy.self())->value; }

}  // namespace

TEST_CASE("a policy of two constants and a pick leaves every optional function out") {
  constexpr tg_component component = tg::policy<First>();
  auto* calls = static_cast<const tg_policy*>(component.functions);
  CHECK_FALSE(bool(calls->build));
  CHECK_FALSE(bool(calls->complete));
  CHECK_FALSE(bool(calls->learn));
  CHECK_FALSE(bool(calls->adopt));
  CHECK(component.config_schema == nullptr);
  FakeHost host;
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, component);
  CHECK(policy.pick().slot() == 0);
}

TEST_CASE("a constructor's tg::Error arrives with its code, place and text") {
  FakeHost host(R"({"threshold": 2})");
  Fleet fleet(2);
  try {
    PolicyUnderTest policy(host, fleet, full);
    FAIL("it was accepted");
  } catch (const tg::Error& error) {
    CHECK(error.code() == TG_E_CONFIG);
    CHECK(error.where() == "/threshold");
    CHECK(std::string(error.what()) == "expected 0 to 1");
  }
}

TEST_CASE("any other exception of a constructor becomes TG_E_INTERNAL with its text") {
  FakeHost host(R"({"threshold": -2})");
  Fleet fleet(2);
  try {
    PolicyUnderTest policy(host, fleet, full);
    FAIL("it was accepted");
  } catch (const tg::Error& error) {
    CHECK(error.code() == TG_E_INTERNAL);
    CHECK(std::string(error.what()) == "plain");
  }
}

TEST_CASE("a text longer than tg_error holds is cut, not overrun") {
  auto error = tg::detail::sized<tg_error>();
  tg::detail::fail(&error, TG_E_CONFIG, std::string(500, 'w'), std::string(5000, 't'));
  CHECK(std::string(error.where).size() == sizeof error.where - 1);
  CHECK(std::string(error.text).size() == sizeof error.text - 1);
}

TEST_CASE("flags, traits and state id are told") {
  FakeHost host;
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, full);
  CHECK(policy.functions().flags == (TG_CONCURRENT | TG_NEED_KEY));
  CHECK(policy.functions().state_id == 42);
  CHECK(policy.traits.roles == (TG_ROLE_BIT(TG_ROLE_PREFILL) | TG_ROLE_BIT(TG_ROLE_DECODE)));
  CHECK(policy.traits.needs == TG_NEED_PROMPT);
  CHECK(of(policy).threshold == 0.5);
}

TEST_CASE("a plan of two legs with edits and a capture arrives whole, without an allocation") {
  FakeHost host;
  Fleet fleet(3);
  PolicyUnderTest policy(host, fleet, full);
  auto picked = policy.pick();
  REQUIRE(picked.legs.size() == 2);
  CHECK(picked.legs[0].response == TG_RESPONSE_DRAIN);
  CHECK(picked.legs[0].start == TG_START_WITH_PREVIOUS);
  REQUIRE(picked.legs[0].edit_count == 2);
  CHECK(tg::view(picked.legs[0].edits[0].value) == "3");
  CHECK(picked.legs[0].edits[1].op == TG_EDIT_DROP);
  CHECK(picked.legs[1].start == TG_START_AFTER_PREVIOUS);
  CHECK(tg::view(picked.legs[1].captures[0].member) == "kv");
  CHECK(picked.reason == "both");
  policy.finish(picked);
  CHECK(of(policy).completed == 3);
}

TEST_CASE("a plan whose edits do not fit fails as a whole") {
  struct Greedy : First {
    void pick(tg::Pick p) noexcept { p.select(0).body(p.edits(1).set("a", "1").set("b", "2")); }
  };
  FakeHost host;
  Fleet fleet(1);
  PolicyUnderTest policy(host, fleet, tg::policy<Greedy>());
  CHECK(policy.pick().status == TG_E_LIMIT);
}

TEST_CASE("a plan of 17 legs fails as a whole") {
  struct Many : First {
    void pick(tg::Pick p) noexcept {
      for (int i = 0; i < 17; ++i) p.add(0).drain();
    }
  };
  FakeHost host;
  Fleet fleet(1);
  PolicyUnderTest policy(host, fleet, tg::policy<Many>());
  CHECK(policy.pick().status == TG_E_LIMIT);
}

TEST_CASE("what picks remember is learned, and the wish for a new table is passed on") {
  FakeHost host;
  Fleet fleet(3);
  PolicyUnderTest policy(host, fleet, full);
  auto a = policy.pick(), b = policy.pick();
  policy.learn();
  CHECK(of(policy).learned == 6);
}

TEST_CASE("a failing build is reported with its reason") {
  FakeHost host;
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, full);
  policy.pick();
  of(policy).refuse_build = true;
  fleet.add();
  CHECK_THROWS_WITH_AS(policy.rebuild(), "too many workers", tg::Error);
}

TEST_CASE("state goes from instance to instance by adoption and as bytes") {
  FakeHost host, other;
  Fleet fleet(2);
  PolicyUnderTest before(host, fleet, full), after(other, fleet, full);
  of(before).learned = 7;
  after.adopt(before);
  CHECK(of(after).learned == 7);
  tg::Collect bytes;
  CHECK(before.functions().export_state(before.self(), bytes.sink()) == TG_OK);
  CHECK(bytes.take() == "7");
  CHECK(after.functions().import_state(after.self(), {}) == TG_E_INVALID);
  CHECK(after.functions().import_state(after.self(), tg::str("abc")) == TG_OK);
}

TEST_CASE("a transform sees the piece and the bodies of drained legs") {
  FakeHost host;
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, full);
  tg_str earlier[] = {tg::str("-early")};
  tg_transform_args args{sizeof args, 1, 0, 1, earlier, nullptr, 0, tg::str("piece")};
  tg::Collect out;
  CHECK(policy.functions().transform(policy.self(), &args, out.sink()) == TG_OK);
  CHECK(out.take() == "piece-early");
}

TEST_CASE("timers run a member function and end with the instance") {
  FakeHost host;
  Fleet fleet(2);
  {
    PolicyUnderTest policy(host, fleet, full);
    host.advance(std::chrono::milliseconds(3500));
    CHECK(of(policy).ticks == 3);
  }
  host.advance(std::chrono::seconds(5));  // would touch freed memory
}

TEST_CASE("a child's legs are taken into the parent's plan, or its refusal is") {
  struct Parent : First {
    explicit Parent(const tg::Config& config) : child_(config.child("/inner")) {}
    void pick(tg::Pick p) noexcept { p.take(child_.pick(p.args())); }
    tg::Child child_;
  };
  bool refuse = false;
  FakeHost host(R"({"inner": {"plugin": "x"}})");
  host.children["/inner"] = [&](const tg_pick_args& args, tg_plan& plan) -> tg_status {
    if (refuse) return plan.verdict = TG_PICK_SHED, plan.retry_after_ms = 30, TG_OK;
    tg_plan_select(&plan, args.candidates[1])->ticket = 99;
    return TG_OK;
  };
  Fleet fleet(2);
  PolicyUnderTest policy(host, fleet, tg::policy<Parent>());
  auto picked = policy.pick();
  REQUIRE(picked.legs.size() == 1);
  CHECK(picked.slot() == 1);
  CHECK(picked.legs[0].ticket == 99);
  refuse = true;
  auto refused = policy.pick();
  CHECK(refused.plan.verdict == TG_PICK_SHED);
  CHECK(refused.plan.retry_after_ms == 30);
}

TEST_CASE("a configuration is never silently ignored by a host that cannot read it") {
  FakeHost host(R"({"threshold": 0.3})");
  host.withhold(TG_HOST_CONFIG);
  Fleet fleet(2);
  CHECK_THROWS_WITH_AS(PolicyUnderTest(host, fleet, full), doctest::Contains("cannot read"), tg::Error);
}

TEST_CASE("arguments of an older host, shorter than ours, are copied as far as they go") {
  tg_pick_args old{};
  old.size = offsetof(tg_pick_args, request);
  old.attempt = 3;
  old.request = reinterpret_cast<const tg_request*>(8);  // beyond what that host knew
  auto copy = tg::detail::known_part(old);
  CHECK(copy.size == offsetof(tg_pick_args, request));
  CHECK(copy.attempt == 3);
  CHECK(copy.request == nullptr);
}

TEST_CASE("a scorer fills one number for each candidate") {
  constexpr tg_component component = tg::scorer<Nearest>();
  auto* calls = static_cast<const tg_scorer*>(component.functions);
  FakeHost host;
  void* self = nullptr;
  REQUIRE(calls->create(host.get(), {}, &self, nullptr) == TG_OK);
  uint32_t slots[] = {4, 6};
  tg_pick_args args{};
  args.size = sizeof args, args.candidates = slots, args.candidate_count = 2;
  float scores[2] = {-1, -1};
  CHECK(calls->score(self, nullptr, &args, scores) == TG_OK);
  CHECK(scores[0] == 1.0f);
  CHECK(scores[1] == 0.0f);
  calls->destroy(self);
}
