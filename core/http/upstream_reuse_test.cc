// Kept-alive connections to a worker: when they serve again, when a request is sent once more, and their
// number.
#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "http/upstream_test_support.h"

namespace tidegate::http {
namespace {

using testing::NotingClient;
using testing::Peer;
using testing::UpstreamHarness;

TEST_CASE("a kept connection serves the next request of its worker") {
  UpstreamHarness h;
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  CHECK(client.call->reused());
  CHECK(h.until([&] { return peer.got("\r\n\r\n"); }));
  peer.send(h.empty_answer);
  CHECK(h.until([&] { return client.ended; }));
  CHECK(h.pool.stats().opened == 1);
}

TEST_CASE("a request whose kept connection ends just then is sent once more on a fresh one") {
  UpstreamHarness h;
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  REQUIRE(client.call->reused());
  SUBCASE("FIN") { peer.fd.reset(); }
  SUBCASE("RST") { peer.reset(); }
  Peer fresh = h.accept();
  CHECK(fresh.in == h.request);
  CHECK_FALSE(client.call->reused());
  fresh.send(h.empty_answer);
  CHECK(h.until([&] { return client.ended; }));
  CHECK(h.pool.stats().resent == 1);
}

TEST_CASE("a request is sent once more only once") {
  UpstreamHarness h;
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  peer.fd.reset();
  Peer fresh = h.accept();
  fresh.fd.reset();
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::reset);
  CHECK(h.worker.nobody_waits());
}

TEST_CASE("a request that the worker may have begun with is not sent once more") {
  UpstreamHarness h({.resend_ms = 0});  // it was sent whole: the race is over
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  REQUIRE(client.sent);
  CHECK(h.until([&] { return peer.got("\r\n\r\n"); }));
  peer.fd.reset();
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::reset);
  CHECK(h.worker.nobody_waits());
}

TEST_CASE("a pause does not prolong the time in which a request may be sent once more") {
  UpstreamHarness h({.resend_ms = 20});
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  const std::uint64_t sent = h.loop.now_ms();
  REQUIRE(client.sent);
  client.call->pause();
  REQUIRE(h.until([&] { return h.loop.now_ms() > sent + 20; }));
  client.call->resume();
  peer.fd.reset();
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::reset);
}

TEST_CASE("a request that has not left whole is sent once more, whenever its connection ends") {
  UpstreamHarness h({.resend_ms = 0});
  Peer peer = h.kept();
  NotingClient client;
  std::string body(16u << 20, 'b');
  const iovec piece{body.data(), body.size()};
  client.call = h.pool.start(0, 1, h.worker.address,
                             {.head = "POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 16777216\r\n\r\n",
                              .body = &piece,
                              .body_count = 1},
                             client);
  REQUIRE(client.call->reused());
  h.step();
  REQUIRE_FALSE(client.sent);
  peer.fd.reset();
  Peer fresh = h.accept();
  CHECK(h.until([&] {
    fresh.receive();
    return client.sent;
  }));
  fresh.receive();
  CHECK(fresh.in.ends_with("bbb"));
  fresh.send(h.empty_answer);
  CHECK(h.until([&] { return client.ended; }));
}

TEST_CASE("a caller can forbid that its request is sent once more") {
  UpstreamHarness h;
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  client.call->no_resend();
  peer.fd.reset();
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::reset);
  CHECK(h.worker.nobody_waits());
}

TEST_CASE("after the first byte of an answer nothing is sent once more") {
  UpstreamHarness h;
  Peer peer = h.kept();
  NotingClient client;
  h.start(client);
  peer.send("H");
  h.step();
  peer.fd.reset();
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::bad_response);
  CHECK(h.worker.nobody_waits());
}

TEST_CASE("a new generation of a worker gets connections of its own") {
  UpstreamHarness h;
  Peer old = h.kept(1);
  NotingClient client;
  h.start(client, {}, 2);
  CHECK_FALSE(client.call->reused());
  Peer fresh = h.accept();
  CHECK(h.until([&] { return old.gone(); }));
  client.call->cancel();
}

TEST_CASE("an idle connection with bytes that nobody asked for is closed") {
  UpstreamHarness h;
  Peer peer = h.kept();
  peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
  CHECK(h.until([&] { return h.pool.stats().idle == 0; }));
  NotingClient client;
  h.start(client);
  CHECK_FALSE(client.call->reused());
  client.call->cancel();
}

// A request of the same batch in which the late bytes were reported must not take them for its answer.
struct Trigger final : Watched {
  std::function<void()> action;
  void on_ready(std::uint32_t) noexcept override { action(); }
};

TEST_CASE("late bytes that wait in the same batch are nobody's answer") {
  UpstreamHarness h;
  Peer peer = h.kept();
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  UniqueFd ours(ends[0]), theirs(ends[1]);
  Trigger trigger;
  NotingClient client;
  h.loop.run_once(0);  // nothing is left of earlier readiness that would change the order below
  trigger.action = [&] {
    h.loop.unwatch(trigger);
    h.start(client);
  };
  REQUIRE(h.loop.watch(trigger, ours.get(), EPOLLIN));
  REQUIRE(::write(theirs.get(), "x", 1) == 1);  // epoll tells in the order of arrival
  SUBCASE("an answer nobody asked for") { peer.send("HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"); }
  SUBCASE("the end") { peer.fd.reset(); }
  h.loop.run_once(100);
  REQUIRE(client.call);
  CHECK_FALSE(client.call->reused());
  Peer fresh = h.accept();
  fresh.send(h.empty_answer);
  CHECK(h.until([&] { return client.ended; }));
  CHECK(client.heads == std::vector<int>{200});
}

TEST_CASE("late bytes that epoll has not been asked about are nobody's answer") {
  UpstreamHarness h;
  // The end of the answer fills the read buffer to the last byte, so that more may lie behind it unseen.
  NotingClient first, second;
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(EventLoop::scratch_size - 42) + "\r\n\r\n";
  REQUIRE(head.size() == 42);
  h.start(first);
  Peer peer = h.accept();
  peer.send(head + std::string(EventLoop::scratch_size - 42, 'a') +
            "HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n");
  while (!first.ended) h.loop.run_once(1);
  h.start(second);
  CHECK_FALSE(second.call->reused());
  second.call->cancel();
}

TEST_CASE("at the limit an idle connection of any worker makes way, busy ones never do") {
  UpstreamHarness h({.max_connections = 2});
  Peer idle = h.kept(1, 7);
  NotingClient a, b, c;
  h.start(a);
  Peer first = h.accept();
  CHECK_FALSE(idle.gone());
  h.start(b);
  CHECK(h.until([&] { return idle.gone(); }));
  Peer second = h.accept();
  h.start(c);
  CHECK_FALSE(c.fault);  // told by the loop, not from within start()
  CHECK(h.until([&] { return c.done(); }));
  CHECK(c.fault == UpstreamFault::no_descriptor);
  CHECK_FALSE(a.done());
  CHECK_FALSE(b.done());
}

// In a child, whose limit of descriptors can be lowered without harm to other tests.
template <class Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int lower_descriptors_to_those_in_use() {
  const int next = ::dup(0);  // the lowest free one
  ::close(next);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = static_cast<rlim_t>(next);
  return ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_CASE("without a descriptor an idle connection makes way; with none left the worker is not to blame") {
  const int failed_at = in_child([] {
    UpstreamHarness h;
    Peer idle = h.kept(1, 7);
    if (lower_descriptors_to_those_in_use() != 0) return 1;
    NotingClient a, b;
    h.start(a);
    if (!h.until([&] { return a.sent; })) return 2;
    if (!idle.gone()) return 3;
    h.start(b);
    if (!h.until([&] { return b.done(); })) return 4;
    if (b.fault != UpstreamFault::no_descriptor) return 5;
    return 0;
  });
  CHECK(failed_at == 0);
}

}  // namespace
}  // namespace tidegate::http
