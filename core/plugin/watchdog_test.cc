#include "plugin/watchdog.h"

#include <atomic>
#include <future>
#include <semaphore>
#include <thread>

#include <unistd.h>

#include <doctest/doctest.h>

#include "plugin/containment.h"
#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

using testing::FakeEnvironment;

constexpr std::uint64_t ms = 1'000'000;

// A thread that stays inside a call until it is let go.
class Stuck {
 public:
  Stuck(Containment& containment, Function function, bool request = true)
      : thread_([&containment, function, request, this] {
          const auto wait = [this] {
            inside_.set_value();
            go_.get_future().wait();
            return TG_OK;
          };
          request ? containment.request_call(function, wait) : containment.control_call(function, wait);
        }) {
    inside_.get_future().wait();
  }
  ~Stuck() { let_go(); }
  void let_go() {
    if (!thread_.joinable()) return;
    go_.set_value();
    thread_.join();
  }

 private:
  std::promise<void> inside_, go_;
  std::thread thread_;
};

// What the kernel is said to know of every thread.
ThreadTimes told;

struct Fixture {
  FakeEnvironment environment;
  std::shared_ptr<Containment> containment =
      Containment::create(environment, {"lib", "slowpoke", "route1"}, true, {});
  Watchdog watchdog{environment, {.times = [](std::int32_t) noexcept { return told; }}};
  std::uint64_t now = 1'000 * ms;
  Fixture() { told = {}; }
  void look_after(std::uint64_t step_ms, std::uint64_t late_ms = 0) {
    watchdog.inspect(now += step_ms * ms, late_ms * ms);
  }
};

TEST_CASE_FIXTURE(Fixture, "a call within its time is nobody's business") {
  Stuck call(*containment, Function::pick);
  look_after(0);
  look_after(100);
  CHECK_FALSE(containment->quarantined());
  CHECK(environment.logs.empty());
}

TEST_CASE_FIXTURE(
    Fixture,
    "a request call over 100 ms is named once, and its instance quarantined while it is still inside") {
  Stuck call(*containment, Function::pick);
  look_after(0);
  look_after(101);
  look_after(101);
  CHECK(containment->quarantine() == Quarantine::stall);
  CHECK(environment.count_logs("a plugin call takes too long") == 1);
  const testing::LogLine line = environment.log_of("a plugin call takes too long");
  CHECK(line.instance == "route1");
  CHECK(line.fields.at("plugin") == "lib");
  CHECK(line.fields.at("component") == "slowpoke");
  CHECK(line.fields.at("function") == "pick");
  CHECK(line.fields.at("ms") == "101");
  CHECK_FALSE(watchdog.stalled());
}

TEST_CASE_FIXTURE(Fixture, "a control call over 100 ms is named, but costs the instance nothing") {
  Stuck call(*containment, Function::build, false);
  look_after(0);
  look_after(101);
  look_after(101);
  CHECK(environment.log_of("a plugin call takes too long").fields.at("function") == "build");
  CHECK(containment->slow_calls() == 1);
  CHECK_FALSE(containment->quarantined());
}

TEST_CASE_FIXTURE(Fixture, "what a thread waited for a processor is not the plugin's time") {
  Stuck call(*containment, Function::pick);
  told = {.ran_ns = 1, .waited_ns = 5, .runnable = true};
  look_after(0);
  SUBCASE("when it has got one again") {
    told = {.ran_ns = 2, .waited_ns = 5 + 80 * ms, .runnable = true};
    look_after(150);
    CHECK_FALSE(containment->quarantined());
    told.ran_ns = 3;
    look_after(31);
  }
  SUBCASE("while it still waits") {
    look_after(60);
    look_after(60);
    look_after(600);
    CHECK_FALSE(containment->quarantined());
    told = {.ran_ns = 2, .waited_ns = 5 + 720 * ms, .runnable = true};  // now the kernel says so, too
    look_after(20);
    CHECK_FALSE(containment->quarantined());
    for (int i = 0; i < 11; ++i) told.ran_ns += 10 * ms, look_after(10);
  }
  CHECK(containment->quarantine() == Quarantine::stall);
}

TEST_CASE_FIXTURE(Fixture, "a call that sleeps is the plugin's time, and so is one that runs") {
  Stuck call(*containment, Function::pick);
  told = {.ran_ns = 1, .waited_ns = 5};
  SUBCASE("sleeps") { told.runnable = false; }
  SUBCASE("runs") { told.runnable = true; }
  look_after(0);
  for (int i = 0; i < 6; ++i) told.ran_ns += told.runnable ? 20 * ms : 0, look_after(20);
  CHECK(containment->quarantine() == Quarantine::stall);
}

TEST_CASE_FIXTURE(Fixture, "what the watchdog came late is nobody's time") {
  Stuck call(*containment, Function::pick);
  look_after(0);
  look_after(5'000, 4'980);
  CHECK_FALSE(containment->quarantined());
  look_after(81);
  CHECK(containment->quarantine() == Quarantine::stall);
}

TEST_CASE("the kernel tells how long a thread ran and whether it does") {
  const ThreadTimes before = thread_times(::gettid());
  CHECK(before.runnable);
  for (ThreadTimes now = before; now.ran_ns == before.ran_ns;) now = thread_times(::gettid());
  CHECK(thread_times(-1).ran_ns == 0);
}

// A parent's pick on a thread of its own that makes one child call after the other, each when it is told to.
class Nested {
 public:
  Nested(Containment& parent, Containment& child)
      : thread_([&, this] {
          parent.request_call(Function::pick, [&] {
            while (next_.acquire(), !done_)
              child.request_call(Function::pick, [&] {
                inside_.release();
                leave_.acquire();
                return TG_OK;
              });
            return TG_OK;
          });
        }) {
    call();
  }
  ~Nested() {
    done_ = true;
    leave_.release();
    next_.release();
    thread_.join();
  }
  void another() {
    leave_.release();
    call();
  }

 private:
  void call() {
    next_.release();
    inside_.acquire();
  }
  std::atomic<bool> done_{false};
  std::binary_semaphore next_{0}, inside_{0}, leave_{0};
  std::thread thread_;
};

struct Family : Fixture {
  std::shared_ptr<Containment> child =
      Containment::create(environment, {"lib", "child", "route1/a"}, true, {});
  Nested nested{*containment, *child};
};

TEST_CASE_FIXTURE(Family, "a parent that goes round in short calls of its children is seen") {
  look_after(0);
  for (int i = 0; i < 6; ++i) nested.another(), look_after(20);
  CHECK(containment->quarantine() == Quarantine::stall);
  CHECK_FALSE(child->quarantined());
  CHECK(environment.log_of("a plugin call takes too long").instance == "route1");
}

TEST_CASE_FIXTURE(Family, "a child that hangs is blamed, its parent is not") {
  look_after(0);
  look_after(90);
  CHECK_FALSE(child->quarantined());
  for (int i = 0; i < 5; ++i) look_after(20);
  CHECK(child->quarantine() == Quarantine::stall);
  nested.another();
  look_after(20);
  look_after(20);
  CHECK_FALSE(containment->quarantined());
}

TEST_CASE_FIXTURE(Fixture, "a call over 10 s means not live, until it has ended") {
  Stuck call(*containment, Function::complete);
  look_after(0);
  look_after(10'001);
  CHECK(watchdog.stalled());
  call.let_go();
  look_after(5);
  CHECK_FALSE(watchdog.stalled());
  CHECK(environment.log_of("a stalled plugin call has ended").fields.at("ms") == "10006");
}

TEST_CASE_FIXTURE(Fixture, "many short calls are not one long one") {
  for (int i = 0; i < 5; ++i) {
    Stuck call(*containment, Function::pick);
    look_after(60);
  }
  CHECK_FALSE(containment->quarantined());
}

TEST_CASE_FIXTURE(Fixture, "threads that wait for a stalled instance are let go when it is quarantined") {
  const auto serial = Containment::create(environment, {"lib", "serial", "r"}, false, {});
  Stuck call(*serial, Function::pick);
  tg_status status = TG_OK;
  std::thread waiter([&] { status = serial->request_call(Function::pick, [] { return TG_OK; }); });
  look_after(0);
  look_after(101);
  waiter.join();
  CHECK(status == call_skipped);
}

TEST_CASE_FIXTURE(Fixture, "an instance that ended meanwhile is no trouble for the watchdog") {
  const std::uint32_t id = containment->id();
  containment.reset();
  CHECK(Containment::find(id) == nullptr);
  Inside orphan(this_thread(), id, Function::pick);
  look_after(0);
  look_after(101);
  CHECK(environment.log_of("a plugin call takes too long").instance == "unknown");
}

TEST_CASE_FIXTURE(Fixture, "its own thread looks by itself and stops at once") {
  environment.fake_time = false;
  Watchdog quick(environment, {.slow_ns = 1, .stalled_ns = 2, .period_ms = 1});
  Stuck call(*containment, Function::pick);
  quick.start();
  while (!quick.stalled()) std::this_thread::yield();
  quick.stop();
  CHECK(containment->quarantine() == Quarantine::stall);
}

}  // namespace
}  // namespace tidegate::plugin
