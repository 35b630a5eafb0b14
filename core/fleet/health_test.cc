#include "fleet/health.h"

#include <Poco/Net/ServerSocket.h>
#include <Poco/Net/StreamSocket.h>
#include <doctest/doctest.h>

#include <memory>
#include <vector>

namespace tidegate::fleet {
namespace {

// A listening socket whose probes the test answers one by one.
class Engine {
 public:
  explicit Engine(http::EventLoop& loop) : loop_(loop), listener_(Poco::Net::SocketAddress("127.0.0.1", 0)) {}

  bool asked() { return listener_.poll(Poco::Timespan(0, 0), Poco::Net::Socket::SELECT_READ); }
  Poco::Net::StreamSocket accept() {
    while (!asked()) loop_.run_once(5);
    return listener_.acceptConnection();
  }
  std::string read_head(Poco::Net::StreamSocket& socket) {
    std::string head;
    while (head.find("\r\n\r\n") == std::string::npos) {
      loop_.run_once(0);
      char part[1024];
      if (socket.poll(Poco::Timespan(0, 1000), Poco::Net::Socket::SELECT_READ))
        head.append(part, static_cast<std::size_t>(socket.receiveBytes(part, sizeof part)));
    }
    return head;
  }
  std::string answer(int status) {
    auto socket = accept();
    std::string head = read_head(socket);
    const std::string text = "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: 0\r\n\r\n";
    socket.sendBytes(text.data(), static_cast<int>(text.size()));
    return head;
  }
  Poco::Net::SocketAddress address() const { return listener_.address(); }

 private:
  http::EventLoop& loop_;
  Poco::Net::ServerSocket listener_;
};

struct Fixture {
  http::EventLoop loop;
  std::shared_ptr<SlotTable> slots = std::make_shared<SlotTable>();
  std::vector<std::string> verdicts;
  int results = 0;
  std::unique_ptr<HealthChecker> checker;

  HealthOptions options(std::uint32_t failures, std::uint32_t successes) const {
    HealthOptions made;
    made.interval_ms = 1;
    made.timeout_ms = 60'000;
    made.failures = failures;
    made.successes = successes;
    return made;
  }
  void begin(const HealthOptions& options) {
    checker = std::make_unique<HealthChecker>(
        loop, options,
        [this](const WorkerPtr& worker, bool healthy, std::string_view) {
          verdicts.push_back(worker->spec().id + (healthy ? " ready" : " unhealthy"));
        },
        [this](const Worker&, bool) { ++results; });
  }
  WorkerPtr worker(const std::string& id, const Engine& engine) {
    WorkerSpec spec;
    spec.id = id;
    Endpoint endpoint{engine.address(), engine.address().toString(), ""};
    return std::make_shared<const Worker>(slots, *slots->acquire(), spec, endpoint, nullptr);
  }
  // The answer has been judged.
  void answer(Engine& engine, int status) {
    const int before = results;
    engine.answer(status);
    while (results == before) loop.run_once(5);
  }
  void answer(Engine& engine, std::initializer_list<int> statuses) {
    for (const int status : statuses) answer(engine, status);
  }
  using Said = std::vector<std::string>;
};

}  // namespace

TEST_CASE_FIXTURE(Fixture,
                  "a starting worker is ready after its first good answer, whatever `successes` says") {
  Engine engine(loop);
  begin(options(3, 5));
  checker->add(worker("a", engine));
  answer(engine, {503, 503});
  CHECK(verdicts.empty());
  answer(engine, 204);
  CHECK(verdicts == Said{"a ready"});
}

TEST_CASE_FIXTURE(Fixture, "two failures of three are not enough, and a good answer begins the count anew") {
  Engine engine(loop);
  begin(options(3, 2));
  checker->add(worker("a", engine));
  answer(engine, {200, 500, 500, 200, 500, 500});
  CHECK(verdicts == Said{"a ready"});
  answer(engine, 500);
  CHECK(verdicts == Said{"a ready", "a unhealthy"});
}

TEST_CASE_FIXTURE(Fixture, "one good answer of two does not bring an unhealthy worker back") {
  Engine engine(loop);
  begin(options(1, 2));
  checker->add(worker("a", engine));
  answer(engine, {200, 500, 200, 500, 200});
  CHECK(verdicts == Said{"a ready", "a unhealthy"});
  answer(engine, 200);
  CHECK(verdicts == Said{"a ready", "a unhealthy", "a ready"});
}

TEST_CASE_FIXTURE(Fixture,
                  "a worker found unhealthy before its first good answer proves itself as any other") {
  Engine engine(loop);
  begin(options(2, 3));
  checker->add(worker("a", engine));
  answer(engine, {500, 500, 200, 200});
  CHECK(verdicts == Said{"a unhealthy"});
  answer(engine, 200);
  CHECK(verdicts == Said{"a unhealthy", "a ready"});
}

TEST_CASE_FIXTURE(Fixture, "a threshold lowered below the running count takes effect with the next failure") {
  Engine engine(loop);
  begin(options(10, 1));
  checker->add(worker("a", engine));
  answer(engine, {200, 500, 500, 500, 500, 500});
  checker->set_options(options(3, 1));
  answer(engine, 500);
  CHECK(verdicts == Said{"a ready", "a unhealthy"});
}

TEST_CASE_FIXTURE(Fixture, "no more probes run at once than `concurrency`") {
  Engine one(loop), two(loop);
  auto limited = options(3, 1);
  limited.concurrency = 1;
  begin(limited);
  checker->add(worker("a", one));
  auto held = one.accept();
  one.read_head(held);
  checker->add(worker("b", two));
  for (int i = 0; i < 5; ++i) loop.run_once(1);
  CHECK_FALSE(two.asked());
  held.close();  // a failure: the next one's turn
  two.answer(200);
  while (verdicts.empty()) loop.run_once(5);
  CHECK(verdicts == Said{"b ready"});
}

TEST_CASE_FIXTURE(Fixture, "a worker forgotten during its probe is not judged, and makes room for the next") {
  Engine one(loop), two(loop);
  auto limited = options(1, 1);
  limited.concurrency = 1;
  begin(limited);
  auto gone = worker("a", one);
  checker->add(gone);
  auto held = one.accept();
  one.read_head(held);
  checker->add(worker("b", two));
  checker->forget(*gone);
  answer(two, 200);
  CHECK(verdicts == Said{"b ready"});
}

TEST_CASE_FIXTURE(Fixture, "without checks every worker is ready at once") {
  Engine engine(loop);
  auto off = options(1, 1);
  off.enabled = false;
  begin(off);
  checker->add(worker("a", engine));
  CHECK(verdicts == Said{"a ready"});
}

TEST_CASE_FIXTURE(Fixture, "a probe carries the worker's own key") {
  Engine engine(loop);
  begin(options(1, 1));
  WorkerSpec spec;
  spec.id = "a";
  Endpoint endpoint{engine.address(), "host:1", "/base", "Bearer hunter2"};
  checker->add(std::make_shared<const Worker>(slots, *slots->acquire(), spec, endpoint, nullptr));
  const std::string head = engine.answer(200);
  CHECK(head.starts_with("GET /base/health HTTP/1.1\r\nHost: host:1\r\n"));
  CHECK(head.find("\r\nAuthorization: Bearer hunter2\r\n") != std::string::npos);
}

}  // namespace tidegate::fleet
