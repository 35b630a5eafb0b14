#include "control/addresses.h"

#include <doctest/doctest.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>

namespace tidegate::control {
namespace {

class Listener final : public fleet::FleetListener {
 public:
  void on_worker_added(const fleet::WorkerPtr&) override { ++added; }
  void on_worker_removed(const fleet::WorkerPtr&, std::string_view) override {}
  void on_membership_changed() override {}
  int added = 0;
};

fleet::WorkerSpec spec(const std::string& url, const std::string& key = "") {
  fleet::WorkerSpec made;
  made.source = "s";
  made.id = made.url = url;
  made.secret_ref = key;
  return made;
}

}  // namespace

TEST_CASE("a name that had no address at first comes in when it has one, and is asked about again") {
  http::EventLoop loop;
  Listener listener;
  fleet::Fleet fleet(std::make_shared<fleet::SlotTable>(), listener);
  std::atomic<int> asked{0};
  Addresses addresses(loop, fleet, [&](fleet::WorkerSpec wanted) {
    fleet::ResolvedSpec found{std::move(wanted), std::nullopt, "no address"};
    if (++asked >= 3) {
      // It moves with each further look-up.
      fleet::Endpoint endpoint;
      endpoint.named = true;
      endpoint.address = Poco::Net::SocketAddress("10.0.0.1", static_cast<std::uint16_t>(asked.load()));
      endpoint.addresses = {endpoint.address};
      found.endpoint = endpoint;
    }
    return found;
  });
  fleet.upsert({spec("http://a:1"), std::nullopt, "no address"}, 0);
  addresses.set_interval(10);
  while (listener.added < 3) loop.run_once(1'000);
  CHECK(asked >= 5);
  addresses.stop();
  CHECK(fleet.count("s") == 1);
}

TEST_CASE("a slow name service is not asked ever more") {
  http::EventLoop loop;
  Listener listener;
  fleet::Fleet fleet(std::make_shared<fleet::SlotTable>(), listener);
  std::promise<void> answer;
  auto answered = answer.get_future().share();
  std::atomic<int> asked{0};
  Addresses addresses(loop, fleet, [&](fleet::WorkerSpec wanted) {
    ++asked;
    answered.wait();
    return fleet::ResolvedSpec{std::move(wanted), std::nullopt, "no address"};
  });
  fleet.upsert({spec("http://a:1"), std::nullopt, "no address"}, 0);
  addresses.set_interval(1);
  while (asked == 0) loop.run_once(10);
  for (int i = 0; i < 20; ++i) loop.run_once(2);
  CHECK(asked == 1);
  answer.set_value();
}

TEST_CASE("a worker's own key comes from its reference, and is never a part of what is said") {
  const auto file =
      std::filesystem::temp_directory_path() /
      ("tidegate-key-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
  std::ofstream(file) << "from-file\n";
  ::setenv("TIDEGATE_TEST_KEY", "from-environment", 1);
  ::setenv("TIDEGATE_TEST_TWO_WORDS", "hunter 2", 1);
  const auto authorization = [](const std::string& key) {
    auto reached = reach(spec("http://127.0.0.1:1", key));
    return reached.endpoint ? reached.endpoint->authorization : "problem: " + reached.problem;
  };
  CHECK(authorization("") == "");
  CHECK(authorization("itself") == "Bearer itself");
  CHECK(authorization("file:" + file.string()) == "Bearer from-file");
  CHECK(authorization("${TIDEGATE_TEST_KEY}") == "Bearer from-environment");
  std::filesystem::remove(file);
  for (const std::string& bad : {"file:" + file.string(), std::string("${TIDEGATE_TEST_NOT_SET}"),
                                 std::string("${TIDEGATE_TEST_TWO_WORDS}"), std::string("a\r\nX: y")}) {
    const std::string said = authorization(bad);
    CHECK(said.starts_with("problem: worker 'http://127.0.0.1:1': its key: "));
    CHECK(said.find("hunter") == std::string::npos);
  }
}

TEST_CASE("what is no address is said") {
  CHECK(reach(spec("http://no.such.host.invalid:1")).problem.find("no.such.host.invalid") !=
        std::string::npos);
  CHECK(reach(spec("https://127.0.0.1:1")).problem.find("TLS to workers is not served") != std::string::npos);
}

TEST_CASE("a pool takes only so many waiting tasks") {
  std::promise<void> go;
  auto gone = go.get_future().share();
  std::promise<void> begun;
  std::atomic<int> done{0};
  {
    BlockingPool pool(1, 2);
    REQUIRE(pool.post([&] {
      begun.set_value();
      gone.wait();
    }));
    begun.get_future().wait();
    CHECK(pool.post([&] { ++done; }));
    CHECK(pool.post([&] { ++done; }));
    CHECK_FALSE(pool.post([&] { ++done; }));
    go.set_value();
  }
  CHECK(done == 2);  // what was taken is done before the pool ends
}

}  // namespace tidegate::control
