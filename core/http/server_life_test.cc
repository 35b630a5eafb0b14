// Clients that vanish, stall or go slow; limits of time; draining.
#include <functional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "http/server.h"
#include "http/server_test_support.h"

namespace tidegate::http {
namespace {

using testing::Client;
using testing::get;
using testing::Harness;

// How a client goes.
enum class Leaving { fin, rst };

void leave(Client& client, Leaving how) {
  if (how == Leaving::fin) {
    client.half_close();
  } else {
    client.rst();
  }
}

const std::string announced = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n";

TEST_CASE("a client that goes before its request is complete is just closed") {
  const std::pair<std::string, int> states[] = {
      {"", 0}, {"GET / HT", 0}, {announced, 1}, {announced + "12345", 1}};
  for (const Leaving how : {Leaving::fin, Leaving::rst}) {
    for (const auto& [sent, begun] : states) {
      CAPTURE(sent);
      Harness harness;
      Client client = harness.connect();
      client.send(sent);
      harness.step();
      leave(client, how);
      REQUIRE(harness.until([&] { return harness.set.connections() == 0; }));
      CHECK(harness.service.requests.empty());
      CHECK(harness.service.gone == begun);
      CHECK(harness.service.destroyed == begun);
      CHECK(harness.budget.used() == 0);
    }
  }
}

// Brings an exchange into a state, lets the client go, and expects to hear of it.
void expect_told_of(Leaving how, const std::function<void(Harness&, Client&, ServerConnection&)>& state) {
  ServerLimits limits;
  limits.pipeline_bytes = 100;
  Harness harness(limits);
  Client client = harness.connect(true);
  client.send(get("/"));
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  state(harness, client, *harness.service.current);
  CHECK(harness.service.gone == 0);
  leave(client, how);
  REQUIRE(harness.until([&] { return harness.service.gone != 0; }));
  harness.step();
  CHECK(harness.service.gone == 1);
  CHECK(harness.service.destroyed == 1);
  CHECK(harness.set.connections() == 0);
  CHECK(harness.set.busy() == 0);
}

void expect_told(const std::function<void(Harness&, Client&, ServerConnection&)>& state) {
  expect_told_of(Leaving::fin, state);
  expect_told_of(Leaving::rst, state);
}

TEST_CASE("a client that goes during an exchange is told of at once") {
  SUBCASE("while waiting for the response") {
    expect_told([](Harness&, Client&, ServerConnection&) {});
  }
  SUBCASE("between two pieces of a stream") {
    expect_told([](Harness& harness, Client&, ServerConnection& connection) {
      connection.send_head(200, "", Framing::stream());
      connection.send("x");
      harness.step();
    });
  }
  SUBCASE("while its reading is paused") {
    expect_told([](Harness& harness, Client& client, ServerConnection&) {
      client.send(std::string(1000, 'x'));
      harness.step();
    });
  }
  SUBCASE("while output is blocked") {
    expect_told([](Harness& harness, Client&, ServerConnection& connection) {
      connection.send_head(200, "", Framing::stream());
      const std::string piece(50'000, 'x');
      while (connection.send(piece)) {
      }
      harness.step();
      CHECK(connection.pending_output() > 0);
    });
  }
}

TEST_CASE("a half-closed client still gets an answer that is given at once") {
  Harness harness;
  harness.service.on_request = [](ServerConnection& connection) { connection.reply(200, "", "there"); };
  Client client = harness.connect();
  client.send(get("/"));
  client.half_close();
  REQUIRE(harness.until([&] { return client.closed(); }));
  CHECK(client.got("there"));
}

TEST_CASE("send() to a client that has gone says false, and on_client_gone() comes from the loop") {
  Harness harness;
  Client client = harness.connect();
  client.send(get("/"));
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  client.rst();
  ServerConnection& connection = *harness.service.current;
  connection.send_head(200, "", Framing::stream());
  CHECK_FALSE(connection.send("x"));
  CHECK(harness.service.gone == 0);
  CHECK_FALSE(connection.send("y"));
  harness.step(1);
  CHECK(harness.service.gone == 1);
}

TEST_CASE("back-pressure: send() says false, on_writable() comes, and all bytes arrive in order") {
  Harness harness;
  Client client = harness.connect(true);
  const std::size_t total = 2'000'000;
  std::size_t produced = 0;
  std::string expected;
  const auto produce = [&](ServerConnection& connection) {
    while (produced < total) {
      const std::string piece = std::to_string(produced) + ";";
      produced += piece.size();
      expected += piece;
      CHECK(connection.pending_output() <= 65 * 1024);
      if (!connection.send(piece)) return;
    }
    connection.finish();
  };
  harness.service.on_request = [&](ServerConnection& connection) {
    connection.send_head(200, "", Framing::stream());
    produce(connection);
  };
  harness.service.on_writable = produce;
  client.send("GET / HTTP/1.0\r\n\r\n");
  REQUIRE(harness.until([&] {
    client.poll(20'000);
    return client.eof;
  }));
  CHECK(harness.service.writable > 0);
  CHECK(client.in.substr(client.in.find("\r\n\r\n") + 4) == expected);
}

TEST_CASE("chunks queued behind a full kernel keep their framing") {
  Harness harness;
  Client client = harness.connect(true);
  client.send(get("/"));
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  ServerConnection& connection = *harness.service.current;
  connection.send_head(200, "", Framing::stream());
  std::string expected;
  for (char c = 'a'; c <= 'z'; ++c) {
    const std::string piece(10'000, c);
    connection.send(piece);
    expected += "2710\r\n" + piece + "\r\n";
  }
  connection.finish();
  expected += "0\r\n\r\n";
  CHECK(connection.pending_output() > 0);
  REQUIRE(harness.until([&] {
    client.poll(5'000);
    return client.in.ends_with("\r\n0\r\n\r\n");
  }));
  CHECK(client.in.substr(client.in.find("\r\n\r\n") + 4) == expected);
  client.in.clear();
  client.send(get("/again"));
  CHECK(harness.until([&] { return harness.service.requests.size() == 2; }));
}

TEST_CASE("the next pipelined request waits until the response before it has left") {
  Harness harness;
  Client client = harness.connect(true);
  harness.service.on_request = [](ServerConnection& connection) {
    connection.reply(200, "", std::string(500'000, 'x'));
  };
  client.send(get("/a") + get("/b"));
  harness.step(10);
  CHECK(harness.service.requests.size() == 1);
  REQUIRE(harness.until([&] {
    client.poll(50'000);
    return client.in.size() > 1'000'000;
  }));
  CHECK(harness.service.requests.size() == 2);
}

TEST_CASE("abort() resets, and so does a fixed length that was not reached") {
  Harness harness;
  Client client = harness.connect();
  client.send(get("/"));
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  ServerConnection& connection = *harness.service.current;
  connection.send_head(200, "", Framing::fixed(10));
  connection.send("12345");
  SUBCASE("abort") { connection.abort(); }
  SUBCASE("finish") { connection.finish(); }
  REQUIRE(harness.until([&] { return client.closed(); }));
  CHECK(client.reset);
  harness.step();
  CHECK(harness.service.gone == 0);
  CHECK(harness.service.destroyed == 1);
  CHECK(harness.set.connections() == 0);
}

TEST_CASE("limits of time") {
  ServerLimits limits;
  limits.header_timeout = limits.body_timeout = limits.idle_timeout = limits.write_timeout = 30;
  Harness harness(limits);
  Client client = harness.connect(true);
  SUBCASE("a connection that says nothing is closed without a word") {
    REQUIRE(harness.until([&] { return client.closed(); }));
    CHECK(client.in.empty());
  }
  SUBCASE("a slow head is a 408") {
    client.send("GET / HTTP/1.1\r\nHos");
    REQUIRE(harness.until([&] { return client.closed(); }));
    CHECK(client.in.starts_with("HTTP/1.1 408 "));
  }
  SUBCASE("a head that trickles is a 408 all the same") {
    REQUIRE(harness.until([&] {
      client.send("G");
      return client.got("HTTP/1.1 408 ");
    }));
  }
  SUBCASE("a stalled body is a 408, and the responder is told") {
    client.send(announced + "123");
    REQUIRE(harness.until([&] { return client.closed(); }));
    CHECK(client.in.starts_with("HTTP/1.1 408 "));
    CHECK(harness.service.gone == 1);
  }
  SUBCASE("an idle connection is closed without a word") {
    harness.service.on_request = [](ServerConnection& connection) { connection.reply(200, "", "x"); };
    client.send(get("/"));
    REQUIRE(harness.until([&] { return client.closed(); }));
    CHECK(client.count("HTTP/1.1") == 1);
    CHECK_FALSE(client.reset);
  }
  SUBCASE("a client that takes nothing is gone") {
    harness.service.on_request = [](ServerConnection& connection) {
      connection.send_head(200, "", Framing::stream());
      connection.send(std::string(500'000, 'x'));
    };
    client.send(get("/"));
    REQUIRE(harness.until([&] { return harness.service.gone == 1; }));
  }
  REQUIRE(harness.until([&] {
    client.fd.reset();
    return harness.set.connections() == 0;
  }));
}

// The kernel's send buffer is so large that it asks for no more while the reader goes on.
TEST_CASE("a slow reader is no client that takes nothing") {
  ServerLimits limits;
  limits.write_timeout = 200;
  Harness harness(limits);
  Client client = harness.connect(true);
  harness.service.on_request = [](ServerConnection& connection) {
    const int large = 1 << 20;
    ::setsockopt(connection.fd(), SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
    connection.send_head(200, "", Framing::stream());
    connection.send(std::string(4'000'000, 'x'));
  };
  client.send(get("/"));
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  const std::size_t pending = harness.service.current->pending_output();
  REQUIRE(pending > 0);
  const std::uint64_t start = harness.loop.now_ms();
  std::uint64_t next = 0;
  REQUIRE(harness.until([&] {
    if (harness.loop.now_ms() >= next) {
      next = harness.loop.now_ms() + 10;
      client.poll(1'500);
    }
    return harness.service.gone != 0 || harness.loop.now_ms() > start + 4 * limits.write_timeout;
  }));
  REQUIRE(harness.service.gone == 0);
  CHECK(harness.service.current->pending_output() == pending);      // the kernel has asked for nothing
  CHECK(harness.until([&] { return harness.service.gone == 1; }));  // it reads no more
}

TEST_CASE("waiting for a slow engine has no limit of the server's") {
  ServerLimits limits;
  limits.header_timeout = limits.body_timeout = limits.idle_timeout = limits.write_timeout = 5;
  Harness harness(limits);
  Client client = harness.connect();
  client.send(get("/"));
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  const std::uint64_t start = harness.loop.now_ms();
  while (harness.loop.now_ms() < start + 40) harness.loop.run_once(5);
  CHECK(harness.service.gone == 0);
  harness.service.current->reply(200, "", "late");
  CHECK(harness.until([&] { return client.got("late"); }));
}

TEST_CASE("draining closes idle connections, finishes busy ones and says so") {
  Harness harness;
  Client idle = harness.connect(), busy = harness.connect(), early = harness.connect();
  Client again = harness.connect();
  harness.service.on_request = [](ServerConnection& connection) {
    if (connection.head().target != "/wait") connection.reply(200, "", "x");
  };
  idle.send(get("/"));
  again.send(get("/"));
  REQUIRE(harness.until([&] { return idle.got("200 OK") && again.got("200 OK"); }));
  busy.send(get("/wait"));
  REQUIRE(harness.until([&] { return harness.set.busy() == 1; }));
  ServerConnection& waiting = *harness.service.current;
  early.send(get("/"));  // arrived, not yet read: a first request
  again.send(get("/"));  // and one on a connection that was idle
  bool drained = false;
  harness.set.drain([&] { drained = true; });
  REQUIRE(harness.until([&] { return idle.closed() && early.closed() && again.closed(); }));
  CHECK(again.count("200 OK") == 2);
  CHECK(early.got("200 OK"));
  CHECK(early.got("Connection: close\r\n"));
  CHECK(harness.set.connections() == 1);
  CHECK_FALSE(drained);
  waiting.reply(200, "", "done");
  REQUIRE(harness.until([&] { return busy.closed(); }));
  CHECK(busy.got("Connection: close\r\n"));
  CHECK(drained);
}

TEST_CASE("force-closing lets the service say a last word, and resets who has none") {
  Harness harness;
  Client polite = harness.connect(), mute = harness.connect();
  for (Client* client : {&polite, &mute}) {
    client->send(get(client == &polite ? "/polite" : "/mute"));
    REQUIRE(harness.until([&] { return harness.set.busy() == (client == &polite ? 1u : 2u); }));
    harness.service.current->send_head(200, "", Framing::stream());
    harness.step(1);
  }
  harness.set.force_close([](ServerConnection& connection, Responder&) {
    if (connection.head().target != "/polite") return;
    connection.send("bye");
    connection.finish();
  });
  CHECK(harness.set.connections() == 0);
  CHECK(harness.service.gone == 1);
  REQUIRE(harness.until([&] { return polite.closed() && mute.closed(); }));
  CHECK(polite.in.ends_with("3\r\nbye\r\n0\r\n\r\n"));
  CHECK(mute.reset);
}

}  // namespace
}  // namespace tidegate::http
