// How many clients may come, and how slowly they may send.
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "http/server.h"
#include "http/server_test_support.h"

namespace tidegate::http {
namespace {

using testing::Client;
using testing::get;
using testing::Harness;

TEST_CASE(
    "above the limit of connections a client gets 503 and the end, and there is room again when one goes") {
  Harness harness, other;  // two loops of one process
  harness.cap.set_limit(2);
  harness.set.share(harness.cap);
  other.set.share(harness.cap);
  harness.service.on_request = [](ServerConnection& connection) { connection.reply(200, "", "served"); };
  Client first = harness.connect(), second = other.connect(), third = harness.connect();
  third.send(get("/"));
  REQUIRE(harness.until([&] { return third.closed(); }));
  CHECK(third.in.starts_with("HTTP/1.1 503 "));
  CHECK(third.got("Retry-After: "));
  CHECK(third.got("too_many_connections"));
  CHECK_FALSE(third.reset);
  CHECK(harness.set.refused() == 1);
  CHECK(harness.service.begun == 0);

  third.fd.reset();
  second.fd.reset();
  REQUIRE(other.until([&] { return other.set.connections() == 0; }));
  Client fourth = harness.connect();
  fourth.send(get("/"));
  CHECK(harness.until([&] { return fourth.got("served"); }));
  CHECK(harness.cap.open() == 2);
}

TEST_CASE("a flood above the limit of connections is answered, and few of it stay open") {
  Harness harness;
  harness.cap.set_limit(0);
  harness.set.share(harness.cap);
  std::vector<Client> flood;
  for (int i = 0; i < 100; ++i) flood.push_back(harness.connect());
  harness.step();
  CHECK(harness.set.connections() < 20);
  for (Client& client : flood) CHECK(client.got("HTTP/1.1 503 "));
}

// A piece every 10 ms, which each body_timeout allows for.
void trickle(Harness& harness, Client& client, std::string_view piece, std::uint64_t& next) {
  if (harness.loop.now_ms() < next) return;
  next = harness.loop.now_ms() + 10;
  client.send(piece);
}

TEST_CASE("a body that trickles is a 408, however evenly it does") {
  ServerLimits limits;
  limits.body_timeout = 100;
  limits.min_body_rate = 1000;  // ten times what comes
  Harness harness(limits);
  Client client = harness.connect();
  std::string_view piece = "x";
  SUBCASE("with a length") { client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n"); }
  SUBCASE("in chunks") {
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    piece = "1\r\nx\r\n";
  }
  std::uint64_t next = 0;
  REQUIRE(harness.until([&] { return trickle(harness, client, piece, next), client.got("\r\n\r\n"); }));
  CHECK(client.in.starts_with("HTTP/1.1 408 "));
  CHECK(client.got("request_body_too_slow"));
  CHECK(harness.service.gone == 1);
  CHECK(harness.budget.used() == 0);
}

TEST_CASE("a body above the least rate may take as long as it likes") {
  ServerLimits limits;
  limits.body_timeout = 100;
  limits.min_body_rate = 100;
  Harness harness(limits);
  harness.service.on_request = [](ServerConnection& connection) { connection.reply(200, "", "whole"); };
  Client client = harness.connect();
  client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
  std::uint64_t next = 0;
  REQUIRE(harness.until(
      [&] { return trickle(harness, client, "twenty bytes of body", next), client.got("\r\n\r\n"); }));
  CHECK(client.got("whole"));
}

}  // namespace
}  // namespace tidegate::http
