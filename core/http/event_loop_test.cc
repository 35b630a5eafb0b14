#include "http/event_loop.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/listener.h"

namespace tidegate::http {
namespace {

struct Pair {
  Pair() {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    ours.reset(fds[0]);
    theirs.reset(fds[1]);
  }
  void poke() const { REQUIRE(::write(theirs.get(), "x", 1) == 1); }
  UniqueFd ours, theirs;
};

struct Watcher : Watched {
  void on_ready(std::uint32_t events) noexcept override {
    ++count;
    last = events;
    if (action) action();
  }
  int count = 0;
  std::uint32_t last = 0;
  std::function<void()> action;
};

TEST_CASE("readiness is delivered as long as it lasts, and interest can be dropped and taken up again") {
  EventLoop loop;
  Pair pair;
  Watcher watcher;
  REQUIRE(loop.watch(watcher, pair.ours.get(), EPOLLIN));
  loop.run_once(0);
  CHECK(watcher.count == 0);
  pair.poke();
  loop.run_once(0);
  loop.run_once(0);
  CHECK(watcher.count == 2);
  loop.rewatch(watcher, 0);
  loop.run_once(0);
  CHECK(watcher.count == 2);
  loop.rewatch(watcher, EPOLLIN);
  loop.run_once(0);
  CHECK(watcher.count == 3);
  loop.unwatch(watcher);
}

TEST_CASE("a peer's FIN is told without having been asked for, and can be declined") {
  EventLoop loop;
  Pair pair;
  Watcher watcher;
  REQUIRE(loop.watch(watcher, pair.ours.get(), 0));
  ::shutdown(pair.theirs.get(), SHUT_WR);
  loop.run_once(0);
  CHECK((watcher.last & EPOLLRDHUP) != 0);
  const int seen = watcher.count;
  loop.rewatch(watcher, EventLoop::without_rdhup);
  loop.run_once(0);
  CHECK(watcher.count == seen);
  loop.unwatch(watcher);
}

TEST_CASE("nothing is delivered to what was unwatched earlier in the same batch") {
  EventLoop loop;
  Pair first_pair, second_pair;
  Watcher first, second;
  first.action = [&] { loop.unwatch(second); };
  second.action = [&] { loop.unwatch(first); };
  REQUIRE(loop.watch(first, first_pair.ours.get(), EPOLLIN));
  REQUIRE(loop.watch(second, second_pair.ours.get(), EPOLLIN));
  // An end that can't be declined, so that it is not interest that keeps it back.
  first_pair.theirs.reset();
  second_pair.theirs.reset();
  loop.run_once(0);
  CHECK(first.count + second.count == 1);
  loop.unwatch(first);
  loop.unwatch(second);
}

TEST_CASE("nor is an event whose interest was dropped in the same batch") {
  EventLoop loop;
  Pair first_pair, second_pair;
  Watcher first, second;
  first.action = [&] { loop.rewatch(second, 0); };
  second.action = [&] { loop.rewatch(first, 0); };
  REQUIRE(loop.watch(first, first_pair.ours.get(), EPOLLIN));
  REQUIRE(loop.watch(second, second_pair.ours.get(), EPOLLIN));
  first_pair.poke();
  second_pair.poke();
  loop.run_once(0);
  CHECK(first.count + second.count == 1);
  loop.unwatch(first);
  loop.unwatch(second);
}

TEST_CASE("deferred objects die at the end of the batch, also those deferred by a destructor") {
  struct Mark : Deferred {
    explicit Mark(int* count) : count(count) {}
    ~Mark() override {
      ++*count;
      if (loop != nullptr) loop->defer_delete(std::make_unique<Mark>(count));
    }
    int* count;
    EventLoop* loop = nullptr;
  };
  EventLoop loop;
  int died = 0;
  auto mark = std::make_unique<Mark>(&died);
  mark->loop = &loop;
  loop.defer_delete(std::move(mark));
  CHECK(died == 0);
  loop.run_once(-1);  // does not sleep on unfinished work
  CHECK(died == 2);
}

TEST_CASE("a hook runs once, at the end of its batch, and not after its death") {
  struct Hook : BatchEnd {
    explicit Hook(int* count) : count(count) {}
    void on_batch_end() noexcept override { ++*count; }
    int* count;
  };
  EventLoop loop;
  int count = 0;
  Hook hook(&count);
  auto dead = std::make_unique<Hook>(&count);
  Hook other(&count);
  loop.at_batch_end(hook);
  loop.at_batch_end(*dead);
  loop.at_batch_end(other);
  loop.at_batch_end(hook);
  dead.reset();
  loop.run_once(-1);
  loop.run_once(0);
  CHECK(count == 2);
}

TEST_CASE("tasks posted by other threads run on the loop's thread in their order, and wake it") {
  EventLoop loop;
  std::vector<int> ran;
  std::thread::id where;
  std::thread poster([&] {
    for (int i = 0; i < 1000; ++i) {
      loop.post([&, i] {
        ran.push_back(i);
        where = std::this_thread::get_id();
      });
    }
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  poster.join();
  REQUIRE(ran.size() == 1000);
  for (int i = 0; i < 1000; ++i) CHECK(ran[static_cast<std::size_t>(i)] == i);
  CHECK(where == std::this_thread::get_id());
  CHECK(loop.in_loop_thread());
}

TEST_CASE("stop() from another thread ends a sleeping loop") {
  EventLoop loop;
  std::atomic<bool> running{false};
  std::thread runner([&] {
    loop.post([&] { running = true; });
    loop.run();
  });
  while (!running) std::this_thread::yield();
  loop.stop();
  runner.join();
  CHECK_FALSE(loop.in_loop_thread());
}

TEST_CASE("a timer ends the sleep, not before its time") {
  struct Alarm {
    void fired() noexcept { at = loop->now_ns(); }
    EventLoop* loop;
    std::uint64_t at = 0;
    Timer timer{Timer::of<&Alarm::fired>, this};
  };
  EventLoop loop;
  Alarm alarm{&loop};
  const std::uint64_t due = loop.now_ms() + 20;
  loop.arm(alarm.timer, 20);
  while (alarm.at == 0) loop.run_once(-1);
  CHECK(alarm.at / 1'000'000 >= due);
}

TEST_CASE("timers go by the clock that the loop was made with") {
  static std::uint64_t now;
  now = 7'000'000'000;
  EventLoop loop([]() noexcept { return now; });
  struct Counter {
    void fire() noexcept { ++count; }
    int count = 0;
  } counter;
  Timer timer(Timer::of<&Counter::fire>, &counter);
  loop.arm(timer, 100);
  now += 99'000'000;
  loop.run_once(0);
  CHECK(counter.count == 0);
  now += 1'000'000;
  loop.run_once(0);
  CHECK(counter.count == 1);
  CHECK(loop.now_ms() == 7100);
}

TEST_CASE("the heartbeat is odd while the loop works and even while it sleeps") {
  EventLoop loop;
  std::uint64_t inside = 0;
  loop.post([&] { inside = loop.heartbeat(); });
  loop.run_once(-1);
  CHECK(inside % 2 == 1);
  CHECK(loop.heartbeat() % 2 == 0);
  CHECK(loop.heartbeat() > inside);
}

}  // namespace
}  // namespace tidegate::http
