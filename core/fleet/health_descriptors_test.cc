// Probes of a gateway that is out of descriptors.
#include <doctest/doctest.h>

#include <memory>

#include <Poco/Net/ServerSocket.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleet/health.h"

namespace tidegate::fleet {
namespace {

// The lowest free number and all above it are given out no more.
bool take_descriptors_away() {
  const int next = ::dup(0);
  ::close(next);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = static_cast<rlim_t>(next);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

int no_worker_is_judged_without_descriptors() {
  http::EventLoop loop;
  Poco::Net::ServerSocket engine(Poco::Net::SocketAddress("127.0.0.1", 0));
  if (!take_descriptors_away()) return 1;
  HealthOptions options;
  options.interval_ms = 1;
  options.failures = 1;
  int heard = 0;
  HealthChecker checker(
      loop, options, [&](const WorkerPtr&, bool, std::string_view) { ++heard; },
      [&](const Worker&, bool) { ++heard; });
  auto slots = std::make_shared<SlotTable>();
  const Endpoint endpoint{engine.address(), engine.address().toString(), ""};
  checker.add(std::make_shared<const Worker>(slots, *slots->acquire(), WorkerSpec{}, endpoint, nullptr));
  for (int i = 0; i < 50; ++i) loop.run_once(2);  // many probes are due meanwhile
  if (heard != 0) return 2;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  for (int i = 0; i < 3000 && !engine.poll(Poco::Timespan(0, 0), Poco::Net::Socket::SELECT_READ); ++i)
    loop.run_once(2);
  return engine.poll(Poco::Timespan(0, 0), Poco::Net::Socket::SELECT_READ) ? 0 : 3;  // probing goes on
}

// In a child, whose limit can be lowered without harm to other tests.
TEST_CASE("a probe for which there is no descriptor says nothing of its worker") {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(no_worker_is_judged_without_descriptors());
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace tidegate::fleet
