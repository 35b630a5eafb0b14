#include "fleet/fleet.h"

#include <doctest/doctest.h>

namespace tidegate::fleet {
namespace {

class Listener final : public FleetListener {
 public:
  void on_worker_added(const WorkerPtr& worker) override { said += "+" + worker->spec().id; }
  void on_worker_removed(const WorkerPtr& worker, std::string_view) override {
    said += "-" + worker->spec().id;
  }
  void on_membership_changed() override {}
  std::string heard() { return std::exchange(said, ""); }
  std::string said;
};

WorkerSpec spec(const std::string& id, const std::string& url = "") {
  WorkerSpec made;
  made.source = "s";
  made.id = id;
  made.url = url.empty() ? "http://" + id + ":1" : url;
  made.models = {"m"};
  return made;
}

Endpoint endpoint(std::initializer_list<const char*> addresses) {
  Endpoint made;
  made.named = true;
  for (const char* address : addresses) made.addresses.emplace_back(std::string(address), std::uint16_t{1});
  made.address = made.addresses.front();
  return made;
}

ResolvedSpec known(const std::string& id) { return {spec(id), endpoint({"10.0.0.1"})}; }
ResolvedSpec nameless(const std::string& id) {
  return {spec(id), std::nullopt, "no address for '" + id + "'"};
}

std::vector<ResolvedSpec> list(std::initializer_list<const char*> ids) {
  std::vector<ResolvedSpec> made;
  for (const char* id : ids) made.push_back(known(id));
  return made;
}

struct Fixture {
  Listener listener;
  std::shared_ptr<SlotTable> slots = std::make_shared<SlotTable>();
  Fleet fleet{slots, listener};
  std::string ids() const {
    std::string all;
    for (const auto& worker : fleet.workers()) all += worker->spec().id;
    return all;
  }
  const Worker& worker(const std::string& id) const {
    for (const auto& one : fleet.workers())
      if (one->spec().id == id) return *one;
    throw std::runtime_error("no worker " + id);
  }
};

constexpr std::uint64_t hold = Fleet::panic_hold_ms;

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a list is taken over: who is new comes, who is not in it goes") {
  CHECK(fleet.publish("s", list({"a", "b", "c"}), false, 0).empty());
  CHECK(listener.heard() == "+a+b+c");
  CHECK(fleet.publish("s", list({"b", "c", "d"}), false, 1).empty());
  CHECK(listener.heard() == "-a+d");
  CHECK(fleet.publish("s", list({"b", "c", "d"}), false, 2).empty());
  CHECK(listener.heard().empty());
}

TEST_CASE_FIXTURE(Fixture, "slots are given in the order of the list") {
  fleet.publish("s", list({"c", "a", "b"}), false, 0);
  CHECK(worker("c").slot() == 0);
  CHECK(worker("a").slot() == 1);
  CHECK(worker("b").slot() == 2);
}

TEST_CASE_FIXTURE(Fixture, "half a list is believed, less is held") {
  fleet.publish("s", list({"a", "b", "c", "d"}), false, 0);
  CHECK(fleet.publish("s", list({"a", "b"}), false, 1).empty());
  CHECK(ids() == "ab");
  fleet.publish("s", list({"a", "b", "c"}), false, 2);
  CHECK(fleet.publish("s", list({"a"}), false, 3).find("went from 3 to 1") != std::string::npos);
  CHECK(ids() == "abc");
}

TEST_CASE_FIXTURE(Fixture, "a held list is in force after the hold, though its source says nothing more") {
  fleet.publish("s", list({"a", "b", "c"}), false, 0);
  fleet.publish("s", list({"c"}), false, 1'000);
  fleet.tick(1'000 + hold - 1);
  CHECK(ids() == "abc");
  fleet.tick(1'000 + hold);
  CHECK(ids() == "c");
}

TEST_CASE_FIXTURE(Fixture, "the hold counts from the first short list, and the last one said is taken") {
  fleet.publish("s", list({"a", "b", "c"}), false, 0);
  fleet.publish("s", {}, false, 1'000);
  CHECK(fleet.publish("s", list({"b"}), false, 2'000).empty());  // said once
  CHECK(fleet.publish("s", list({"a"}), false, 1'000 + hold).empty());
  CHECK(ids() == "a");
}

TEST_CASE_FIXTURE(Fixture, "a good list within the hold ends it") {
  fleet.publish("s", list({"a", "b", "c"}), false, 0);
  fleet.publish("s", {}, false, 1'000);
  fleet.publish("s", list({"a", "b", "c"}), false, 2'000);
  fleet.tick(3 * hold);
  CHECK(ids() == "abc");
}

TEST_CASE_FIXTURE(Fixture, "what is said of single workers within the hold holds after it") {
  fleet.publish("s", list({"a", "b", "c", "d"}), false, 0);
  fleet.publish("s", list({"a"}), false, 0);
  fleet.upsert(known("e"), 1);
  fleet.remove("s", "a", "gone");
  fleet.tick(hold);
  CHECK(ids() == "e");
}

TEST_CASE_FIXTURE(Fixture, "a source that means it shrinks at once") {
  fleet.publish("s", list({"a", "b", "c"}), true, 0);
  CHECK(fleet.publish("s", list({"b"}), true, 1).empty());
  CHECK(ids() == "b");
  CHECK(fleet.publish("s", {}, true, 2).empty());
  CHECK(ids().empty());
}

TEST_CASE_FIXTURE(Fixture, "a name without an address keeps the worker that it had") {
  fleet.publish("s", list({"a", "b"}), false, 0);
  std::vector<ResolvedSpec> again = list({"a"});
  again.push_back(nameless("b"));
  CHECK(fleet.publish("s", again, false, 1) == "no address for 'b'");
  CHECK(listener.heard() == "+a+b");
  auto changed = nameless("b");
  changed.spec.weight_milli = 7;
  fleet.upsert(changed, 2);
  CHECK(worker("b").spec().weight_milli == 7);
  CHECK(worker("b").endpoint().address.toString() == "10.0.0.1:1");
}

TEST_CASE_FIXTURE(Fixture,
                  "a worker that moves to a name without an address serves where it was until there is one") {
  fleet.publish("s", list({"a"}), false, 0);
  ResolvedSpec moved{spec("a", "http://elsewhere:1"), std::nullopt, "no address"};
  fleet.upsert(moved, 1);
  CHECK(worker("a").spec().url == "http://a:1");
  moved.endpoint = endpoint({"10.0.0.2"});
  fleet.reached(moved);
  CHECK(worker("a").spec().url == "http://elsewhere:1");
}

TEST_CASE_FIXTURE(Fixture, "a name without an address at first comes in when it has one") {
  fleet.publish("s", {nameless("a")}, false, 0);
  CHECK(ids().empty());
  REQUIRE(fleet.to_reach(false).size() == 1);
  fleet.reached({fleet.to_reach(false).front(), std::nullopt, "still none"});
  CHECK(ids().empty());
  fleet.reached({fleet.to_reach(false).front(), endpoint({"10.0.0.1"})});
  CHECK(ids() == "a");
  CHECK(fleet.to_reach(false).empty());
}

TEST_CASE_FIXTURE(Fixture, "what was found for a worker that is gone or another by now is not used") {
  fleet.publish("s", {nameless("a")}, false, 0);
  const WorkerSpec asked = fleet.to_reach(false).front();
  fleet.remove("s", "a", "gone");
  fleet.reached({asked, endpoint({"10.0.0.1"})});
  CHECK(ids().empty());
  fleet.upsert(nameless("a"), 1);
  auto other = nameless("a");
  other.spec.url = "http://other:1";
  fleet.upsert(other, 2);
  fleet.reached({asked, endpoint({"10.0.0.1"})});
  CHECK(ids().empty());
}

TEST_CASE_FIXTURE(Fixture, "all named ones are asked about again; a changed address registers anew") {
  fleet.publish("s", list({"a"}), false, 0);
  auto literal = known("b");
  literal.endpoint->named = false;
  fleet.upsert(literal, 0);
  CHECK(fleet.to_reach(false).empty());
  REQUIRE(fleet.to_reach(true).size() == 1);
  listener.heard();
  const auto before = worker("a").slot();
  fleet.reached({spec("a"), endpoint({"10.0.0.9", "10.0.0.1"})});  // turned round: it is still there
  CHECK(listener.heard().empty());
  fleet.reached({spec("a"), endpoint({"10.0.0.9"})});
  CHECK(listener.heard() == "-a+a");
  CHECK(worker("a").endpoint().address.toString() == "10.0.0.9:1");
  CHECK(worker("a").state() == TG_WORKER_STARTING);
  (void)before;
}

TEST_CASE_FIXTURE(Fixture, "another key registers anew, and the engine need not prove itself again") {
  fleet.publish("s", list({"a"}), false, 0);
  fleet.set_state(worker("a"), TG_WORKER_READY);
  auto rotated = known("a");
  rotated.endpoint->authorization = "Bearer new";
  fleet.reached(rotated);
  CHECK(worker("a").endpoint().authorization == "Bearer new");
  CHECK(worker("a").ready());
}

TEST_CASE_FIXTURE(Fixture, "a worker with a ttl goes when it is not reported again in time") {
  auto mortal = known("a");
  mortal.spec.ttl_ms = 100;
  fleet.upsert(mortal, 0);
  fleet.upsert(known("b"), 0);
  fleet.upsert(mortal, 50);
  fleet.tick(149);
  CHECK(ids() == "ab");
  fleet.tick(150);
  CHECK(ids() == "b");
  CHECK(listener.heard() == "+a+b-a");
}

TEST_CASE_FIXTURE(Fixture, "sources do not touch each other's workers") {
  fleet.publish("s", list({"a"}), false, 0);
  auto other = known("a");
  other.spec.source = "t";
  fleet.publish("t", {other}, false, 0);
  CHECK(fleet.workers().size() == 2);
  fleet.drop_source("t", "no longer configured");
  CHECK(ids() == "a");
  CHECK(fleet.count("t") == 0);
}

TEST_CASE_FIXTURE(
    Fixture, "a slot is used again, a generation later, when the last who could pick its worker is gone") {
  fleet.publish("s", list({"a"}), false, 0);
  fleet.set_state(worker("a"), TG_WORKER_READY);
  const auto slot = worker("a").slot(), generation = worker("a").generation();
  auto old = fleet.make_membership();
  fleet.remove("s", "a", "gone");
  CHECK(slots->live(slot).state == TG_WORKER_READY);  // the old membership is still in force
  fleet.let_go();
  CHECK(slots->live(slot).state == TG_WORKER_GONE);
  fleet.upsert(known("b"), 1);
  CHECK(worker("b").slot() != slot);
  old.reset();
  fleet.upsert(known("c"), 2);
  CHECK(worker("c").slot() == slot);
  CHECK(worker("c").generation() == generation + 1);
  CHECK(worker("c").state() == TG_WORKER_STARTING);
}

TEST_CASE_FIXTURE(Fixture, "a membership's candidates are the ready ones, by model and role") {
  auto prefill = known("p"), decode = known("d"), any = known("w"), other = known("o");
  prefill.spec.role = TG_ROLE_PREFILL;
  decode.spec.role = TG_ROLE_DECODE;
  any.spec.models.clear();  // serves any model
  other.spec.models = {"n"};
  for (const auto& one : {prefill, decode, any, other}) fleet.upsert(one, 0);
  for (const char* id : {"p", "w", "o"}) fleet.set_state(worker(id), TG_WORKER_READY);
  const auto members = fleet.make_membership();
  CHECK(members->snapshot().count == 4);
  CHECK(members->model_names() == std::vector<std::string_view>{"m", "n"});
  const ModelEntry* m = members->model("m");
  REQUIRE(m);
  CHECK(m->registered == 3);
  CHECK(m->starting == 1);
  CHECK(m->slots[TG_ROLE_PREFILL] == std::vector<std::uint32_t>{worker("p").slot()});
  CHECK(m->slots[TG_ROLE_DECODE].empty());  // not ready
  CHECK(m->slots[TG_ROLE_ANY] == std::vector<std::uint32_t>{worker("w").slot()});
  CHECK(members->model("n")->slots[TG_ROLE_ANY].size() == 2);
  CHECK(members->model("unheard of")->slots[TG_ROLE_ANY] == m->slots[TG_ROLE_ANY]);  // who serves any
  CHECK(members->model("")->registered == 4);
}

TEST_CASE_FIXTURE(Fixture, "without a worker that serves any, an unknown model has no entry") {
  fleet.upsert(known("a"), 0);
  CHECK(fleet.make_membership()->model("unheard of") == nullptr);
}

TEST_CASE("an endpoint has all addresses of its name, or the one it is") {
  const auto literal = resolve("http://127.0.0.1:8000/base/");
  CHECK_FALSE(literal.named);
  CHECK(literal.address.toString() == "127.0.0.1:8000");
  CHECK(literal.base_path == "/base");
  const auto named = resolve("http://localhost:8000");
  CHECK(named.named);
  CHECK(named.still_at(named));
  for (const char* bad : {"https://127.0.0.1:1", "ftp://x", "nonsense", "http://no.such.host.invalid:1"})
    CHECK_THROWS_AS(resolve(bad), std::runtime_error);
}

}  // namespace tidegate::fleet
