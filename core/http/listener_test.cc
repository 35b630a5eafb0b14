#include "http/listener.h"

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <Poco/Net/SocketAddress.h>

namespace tidegate::http {
namespace {

struct Keeper : AcceptHandler {
  void on_accept(UniqueFd fd, const PeerAddress& peer) noexcept override {
    peers.push_back(peer);
    kept.push_back(std::move(fd));
  }
  std::vector<UniqueFd> kept;
  std::vector<PeerAddress> peers;
};

UniqueFd connect_to(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

bool step_until(EventLoop& loop, const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) loop.run_once(2);
  return condition();
}

const Poco::Net::SocketAddress any_port("127.0.0.1", 0);

TEST_CASE("accepted descriptors are non-blocking, closed on exec, undelayed, and come with their address") {
  EventLoop loop;
  Keeper keeper;
  Listener listener(loop, keeper);
  listener.open(any_port);
  REQUIRE(listener.port() != 0);
  const UniqueFd client = connect_to(listener.port());
  REQUIRE(client);
  REQUIRE(step_until(loop, [&] { return keeper.kept.size() == 1; }));
  const int fd = keeper.kept[0].get();
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  int nodelay = 0;
  socklen_t length = sizeof nodelay;
  ::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &length);
  CHECK(nodelay != 0);
  CHECK(keeper.peers[0].host() == "127.0.0.1");
  CHECK(keeper.peers[0].loopback());
  CHECK(keeper.peers[0].port() != 0);
}

TEST_CASE("several loops listen on one port") {
  EventLoop first_loop, second_loop;
  Keeper keeper;
  const ListenerOptions options{.shared_port = true};
  Listener first(first_loop, keeper, options), second(second_loop, keeper, options);
  first.open(any_port);
  second.open(Poco::Net::SocketAddress("127.0.0.1", first.port()));
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(connect_to(first.port()));
  REQUIRE(step_until(first_loop, [&] {
    second_loop.run_once(0);
    return keeper.kept.size() == 40;
  }));
  CHECK(first.accepted() + second.accepted() == 40);
}

TEST_CASE("a port that is not shared on both sides is taken, and the refusal names it") {
  EventLoop loop;
  Keeper keeper;
  Listener first(loop, keeper), second(loop, keeper), sharing(loop, keeper, {.shared_port = true});
  first.open(any_port);
  const Poco::Net::SocketAddress same("127.0.0.1", first.port());
  try {
    second.open(same);
    FAIL("two listeners on one port");
  } catch (const Poco::Exception& error) {
    CHECK(error.displayText().find(std::to_string(first.port())) != std::string::npos);
  }
  CHECK_THROWS_AS(sharing.open(same), Poco::Exception);
}

TEST_CASE("closing hands over what is queued, and refuses what comes later") {
  EventLoop loop;
  Keeper keeper;
  Listener listener(loop, keeper);
  listener.open(any_port);
  const std::uint16_t port = listener.port();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(connect_to(port));
  listener.close();
  CHECK(keeper.kept.size() == 20);
  CHECK_FALSE(listener.is_open());
  CHECK_FALSE(connect_to(port));
}

TEST_CASE("an inherited socket is shared by loops, and stays open for its owner") {
  UniqueFd inherited(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(inherited.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(inherited.get(), 16) == 0);
  EventLoop first_loop, second_loop;
  Keeper keeper;
  Listener first(first_loop, keeper), second(second_loop, keeper);
  first.adopt(inherited.get());
  second.adopt(inherited.get());
  CHECK(first.port() == second.port());
  const UniqueFd one = connect_to(first.port());
  REQUIRE(step_until(second_loop, [&] { return keeper.kept.size() == 1; }));
  second.close();
  const UniqueFd two = connect_to(first.port());
  REQUIRE(step_until(first_loop, [&] { return keeper.kept.size() == 2; }));
  first.close();
  CHECK(connect_to(first.port()));
}

TEST_CASE("what is no socket can't be adopted") {
  EventLoop loop;
  Keeper keeper;
  Listener listener(loop, keeper);
  CHECK_THROWS(listener.adopt(-1));
}

// In a child of its own, because the limit is the process's. Exit codes name the step that failed.
int exhaust_descriptors() {
  EventLoop loop;
  Keeper keeper;
  ListenerOptions options;
  options.pause_ms = 20;
  Listener listener(loop, keeper, options);
  listener.open(any_port);
  // Clients first: they take descriptors of this process, too.
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(connect_to(listener.port()));
  UniqueFd lowest(::dup(0));
  const rlimit limit{static_cast<rlim_t>(lowest.get()), static_cast<rlim_t>(lowest.get())};
  lowest.reset();
  const rlimit before = [] {
    rlimit was{};
    ::getrlimit(RLIMIT_NOFILE, &was);
    return was;
  }();
  const rlimit lowered{limit.rlim_cur, before.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &lowered) != 0) return 1;

  if (!step_until(loop, [&] { return listener.refused() == 3; })) return 2;
  if (!keeper.kept.empty() || !listener.paused()) return 3;
  for (const UniqueFd& client : clients) {
    std::string text(4096, '\0');
    const auto got = ::recv(client.get(), text.data(), text.size(), 0);
    if (got <= 0 || !text.starts_with("HTTP/1.1 503 ")) return 4;
    if (text.find("Retry-After: 1\r\n") == std::string::npos) return 5;
    if (::recv(client.get(), text.data(), text.size(), 0) != 0) return 6;
  }
  // While it pauses nothing wakes the loop, though somebody waits in the queue.
  clients.pop_back();
  clients.push_back(connect_to(listener.port()));
  if (!clients.back()) return 7;
  const std::uint64_t start = loop.now_ms();
  const std::uint64_t beats = loop.heartbeat();
  if (listener.paused()) loop.run_once(5);
  if (loop.heartbeat() - beats > 2 && loop.now_ms() == start) return 8;

  if (::setrlimit(RLIMIT_NOFILE, &before) != 0) return 9;
  const std::uint64_t refused = listener.refused();
  if (!step_until(loop, [&] { return keeper.kept.size() + (listener.refused() - refused) == 1; })) return 10;
  clients.push_back(connect_to(listener.port()));
  if (!step_until(loop, [&] { return !keeper.kept.empty(); })) return 11;
  return 0;
}

TEST_CASE("out of descriptors: connections are refused politely, accepting pauses and recovers") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(exhaust_descriptors());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace tidegate::http
