// Upstream calls against a worker's end of a loopback connection, held by the test: answers, pauses, limits.
#include "http/upstream.h"

#include <doctest/doctest.h>

#include <string>

#include "http/upstream_test_support.h"

namespace tidegate::http {
namespace {

using testing::NotingClient;
using testing::Peer;
using testing::UpstreamHarness;

// A worker that answers before it has read the request, and a client that is slower than its answer: only
// reading stops.
TEST_CASE("a paused call goes on sending its request") {
  UpstreamHarness h;
  NotingClient client;
  bool paused = false;
  client.on_body = [&] {
    if (!std::exchange(paused, true)) client.call->pause();
  };
  std::string body(16u << 20, 'b');  // more than the kernel takes
  const iovec piece{body.data(), body.size()};
  const std::string head =
      "POST / HTTP/1.1\r\nHost: w\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  client.call = h.pool.start(0, 1, h.worker.address, {.head = head, .body = &piece, .body_count = 1}, client);
  Peer peer = h.accept();
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
  REQUIRE(h.until([&] { return paused; }));
  REQUIRE_FALSE(client.sent);

  CHECK(h.until([&] {
    peer.receive();
    return client.sent;
  }));
  peer.receive();
  CHECK(peer.in.size() == head.size() + body.size());
  CHECK(client.body == "a");  // paused all the while
  peer.send("b");
  h.step(5);
  CHECK(client.body == "a");
  client.call->resume();
  CHECK(h.until([&] { return client.ended; }));
  CHECK(client.body == "ab");
}

TEST_CASE("interim responses are skipped, in one read with the answer or in one of their own") {
  UpstreamHarness h;
  NotingClient client;
  h.start(client);
  Peer peer = h.accept();
  SUBCASE("one read") {
    peer.send(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  }
  SUBCASE("two reads, cut inside the second head") {
    peer.send("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 20");
    h.step();
    CHECK(client.heads.empty());
    peer.send("0 OK\r\nContent-Length: 2\r\n\r\nok");
  }
  SUBCASE("two reads, cut inside the interim head") {
    peer.send("HTTP/1.1 103 Ea");
    h.step();
    peer.send("rly Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  }
  CHECK(h.until([&] { return client.ended; }));
  CHECK(client.heads == std::vector<int>{200});
  CHECK(client.body == "ok");
}

TEST_CASE("interim responses without end are a bad response") {
  UpstreamHarness h;
  NotingClient client;
  h.start(client);
  Peer peer = h.accept();
  for (int i = 0; i < 100; ++i) peer.send("HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::bad_response);
}

// A piece every ten milliseconds.
void trickle(UpstreamHarness& h, Peer& peer, std::string_view piece) {
  if (h.loop.now_ms() < h.trickled_ms + 10) return;
  h.trickled_ms = h.loop.now_ms();
  peer.send(piece);
}

// Each piece comes well within the limit: only a limit that bytes before the body don't move can end this.
TEST_CASE("what trickles before the body does not move the limit of the first byte") {
  UpstreamHarness h;
  NotingClient client;
  h.start(client, {.first_byte_ms = 60});
  Peer peer = h.accept();
  std::string_view piece = "HTTP/1.1 200 OK\r\n", next;
  SUBCASE("a head") { next = "X: a\r\n"; }
  SUBCASE("chunk extensions") {
    piece = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;";
    next = "a";
  }
  peer.send(piece);
  CHECK(h.until([&] { return trickle(h, peer, next), client.done(); }));
  CHECK(client.fault == UpstreamFault::first_byte_timeout);
}

TEST_CASE("framing without data does not move the limit between two pieces of the body") {
  UpstreamHarness h;
  NotingClient client;
  h.start(client, {.idle_ms = 60});
  Peer peer = h.accept();
  peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n5;");
  CHECK(h.until([&] { return trickle(h, peer, "a"), client.done(); }));
  CHECK(client.fault == UpstreamFault::idle_timeout);
}

TEST_CASE("trailers come with the last piece") {
  UpstreamHarness h;
  NotingClient client;
  h.start(client);
  Peer peer = h.accept();
  peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\nX-B");
  h.step();
  CHECK_FALSE(client.ended);
  peer.send(": c\r\n\r\n");
  CHECK(h.until([&] { return client.ended; }));
  CHECK(client.body == "ok");
  CHECK(client.trailers == "X-A: b\r\nX-B: c\r\n");
}

TEST_CASE("what the worker sent before it hung up is read after a pause, then its end") {
  UpstreamHarness h;
  NotingClient client;
  bool paused = false;
  client.on_body = [&] {
    if (!std::exchange(paused, true)) client.call->pause();
  };
  h.start(client);
  Peer peer = h.accept();
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\na");
  REQUIRE(h.until([&] { return paused; }));
  peer.send(std::string(70'000, 'b'));
  SUBCASE("by FIN") { peer.fd.reset(); }
  SUBCASE("by RST") {
    h.step();
    peer.reset();
  }
  h.step(5);
  CHECK(client.body == "a");
  CHECK_FALSE(client.fault);
  client.call->resume();
  CHECK(h.until([&] { return client.done(); }));
  CHECK(client.fault == UpstreamFault::cut_short);
}

TEST_CASE("a connection whose worker answered before it had the whole request is not kept") {
  UpstreamHarness h;
  NotingClient client;
  std::string body(16u << 20, 'b');
  const iovec piece{body.data(), body.size()};
  client.call = h.pool.start(0, 1, h.worker.address,
                             {.head = "POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 16777216\r\n\r\n",
                              .body = &piece,
                              .body_count = 1},
                             client);
  Peer peer = h.accept();
  peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
  CHECK(h.until([&] { return client.ended; }));
  CHECK_FALSE(client.sent);
  CHECK(client.heads == std::vector<int>{413});
  CHECK(h.until([&] { return h.pool.stats().idle == 0 && h.pool.stats().busy == 0; }));
}

}  // namespace
}  // namespace tidegate::http
