// Whole exchanges over loopback TCP: framing, keep-alive, pipelining, limits and refusals.
#include "http/server.h"

#include <string>

#include <doctest/doctest.h>

#include "http/server_test_support.h"

namespace tidegate::http {
namespace {

using testing::Client;
using testing::get;
using testing::Harness;
using testing::post;

// Answers everything with the request's target and body.
void echo(Harness& harness) {
  harness.service.on_request = [](ServerConnection& connection) {
    const std::string body =
        std::string(connection.head().target) + "|" + std::string(connection.body().view());
    connection.reply(200, "text/plain", body, "X-Test: yes\r\n");
  };
}

TEST_CASE("a request is answered with status, date, the given headers and length") {
  Harness harness;
  echo(harness);
  Client client = harness.connect();
  client.send(post("hello"));
  REQUIRE(harness.until([&] { return client.got("/p|hello"); }));
  CHECK(client.in.starts_with("HTTP/1.1 200 OK\r\nDate: "));
  CHECK(client.got("Content-Type: text/plain\r\nX-Test: yes\r\nContent-Length: 8\r\n\r\n/p|hello"));
  CHECK_FALSE(client.got("Connection:"));
  CHECK(harness.set.busy() == 0);
  CHECK(harness.set.connections() == 1);
}

TEST_CASE("keep-alive: one connection, many requests; the idle one holds no buffered body") {
  Harness harness;
  echo(harness);
  Client client = harness.connect();
  for (int i = 0; i < 5; ++i) {
    client.in.clear();
    client.send(post("n" + std::to_string(i)));
    REQUIRE(harness.until([&] { return client.got("/p|n" + std::to_string(i)); }));
  }
  CHECK(harness.service.destroyed == 5);
  CHECK(harness.budget.used() == 0);
}

TEST_CASE("a request cut at every byte is the same request") {
  const std::string whole = post("the body", "X-A: b\r\n");
  for (std::size_t cut = 1; cut < whole.size(); ++cut) {
    Harness harness;
    echo(harness);
    Client client = harness.connect();
    client.send(whole.substr(0, cut));
    harness.step(2);
    CHECK(harness.service.requests.empty());
    client.send(whole.substr(cut));
    REQUIRE(harness.until([&] { return client.got("/p|the body"); }));
    CHECK(harness.service.requests.size() == 1);
  }
}

TEST_CASE("a request's head stays readable while other connections read theirs") {
  Harness harness;
  Client first = harness.connect(), second = harness.connect();
  first.send("GET /path?query HTTP/1.1\r\nHost: first\r\nX-Name: value\r\nConnection: X-Name\r\n\r\n");
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 1; }));
  const RequestHead& head = harness.service.current->head();
  second.send("PUT /" + std::string(500, 'z') + " HTTP/1.1\r\nHost: second\r\n\r\n");
  REQUIRE(harness.until([&] { return harness.service.requests.size() == 2; }));
  CHECK(head.method == "GET");
  CHECK(head.target == "/path?query");
  CHECK(head.path == "/path");
  CHECK(head.query == "query");
  CHECK(head.host == "first");
  CHECK(head.value("x-name") == "value");
  REQUIRE(head.connection_names.size() == 1);
  CHECK(head.connection_names[0] == "X-Name");
}

TEST_CASE("pipelined requests are answered in order, whether at once or later") {
  Harness harness;
  SUBCASE("at once") { echo(harness); }
  SUBCASE("later") {
    harness.service.on_request = [&](ServerConnection& connection) {
      harness.loop.post([&] { connection.reply(200, "", std::string(connection.head().target) + "|"); });
    };
  }
  Client client = harness.connect();
  client.send(get("/a") + post("b") + get("/c") + get("/d"));
  REQUIRE(harness.until([&] { return client.got("/d|"); }));
  CHECK(client.count("HTTP/1.1 200") == 4);
  CHECK(client.in.find("/a|") < client.in.find("/p|"));
  CHECK(client.in.find("/p|") < client.in.find("/c|"));
  CHECK(harness.service.requests.size() == 4);
  CHECK_FALSE(client.closed());
}

TEST_CASE("input during an exchange is read ahead up to the limit, and then left to the kernel") {
  ServerLimits limits;
  limits.pipeline_bytes = 1000;
  Harness harness(limits);
  Client client = harness.connect();
  client.send(get("/first"));
  REQUIRE(harness.until([&] { return harness.service.begun == 1; }));
  std::string more;
  for (int i = 0; i < 200; ++i) more += get("/more");
  client.send(more);
  harness.step(5);
  // The loop sleeps its full time: nothing is ready though input waits.
  const std::uint64_t before = harness.loop.now_ms();
  harness.loop.run_once(20);
  CHECK(harness.loop.now_ms() >= before + 20);
  CHECK(harness.service.begun == 1);
  echo(harness);
  harness.service.current->reply(200, "", "/first|");
  REQUIRE(harness.until([&] { return client.count("/more|") == 200; }));
}

TEST_CASE("a stream is chunked, its head leaves with the first data, its end with the last") {
  Harness harness;
  harness.service.on_request = [](ServerConnection& connection) {
    connection.send_head(200, "Content-Type: text/event-stream\r\n", Framing::stream());
    connection.send("data: 1\n\n");
  };
  Client client = harness.connect();
  client.send(get("/s"));
  REQUIRE(
      harness.until([&] { return client.got("Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"); }));
  const std::string_view parts[] = {"da", "ta: 2\n\n"};
  const iovec pieces[] = {{const_cast<char*>(parts[0].data()), 2}, {const_cast<char*>(parts[1].data()), 7}};
  CHECK(harness.service.current->send(pieces));
  REQUIRE(harness.until([&] { return client.got("9\r\ndata: 2\n\n\r\n"); }));
  SUBCASE("plain end") {
    harness.service.current->finish();
    REQUIRE(harness.until([&] { return client.got("0\r\n\r\n"); }));
  }
  SUBCASE("with last data") {
    const iovec last{const_cast<char*>("end"), 3};
    harness.service.current->finish(std::span<const iovec>(&last, 1));
    REQUIRE(harness.until([&] { return client.got("3\r\nend\r\n0\r\n\r\n"); }));
  }
  SUBCASE("with trailers") {
    harness.service.current->finish("X-Sum: 1\r\n");
    REQUIRE(harness.until([&] { return client.got("0\r\nX-Sum: 1\r\n\r\n"); }));
  }
  CHECK(harness.set.busy() == 0);
  CHECK_FALSE(client.closed());
}

TEST_CASE("a head without data leaves at the end of the batch") {
  Harness harness;
  harness.service.on_request = [](ServerConnection& connection) {
    connection.send_head(200, "", Framing::stream());
  };
  Client client = harness.connect();
  client.send(get("/s"));
  REQUIRE(harness.until([&] { return client.got("\r\n\r\n"); }));
}

TEST_CASE("HTTP/1.0: a stream ends with the connection; keep-alive only where asked for and possible") {
  Harness harness;
  Client client = harness.connect();
  SUBCASE("stream") {
    harness.service.on_request = [](ServerConnection& connection) {
      connection.send_head(200, "", Framing::stream());
      connection.send("bytes");
      connection.finish();
    };
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    REQUIRE(harness.until([&] { return client.closed(); }));
    CHECK(client.in.ends_with("\r\nConnection: close\r\n\r\nbytes"));
    CHECK_FALSE(client.got("chunked"));
  }
  SUBCASE("length, no keep-alive asked for") {
    echo(harness);
    client.send("GET / HTTP/1.0\r\n\r\n");
    REQUIRE(harness.until([&] { return client.closed(); }));
    CHECK(client.in.ends_with("/|"));
    CHECK_FALSE(client.reset);
  }
  SUBCASE("length, keep-alive") {
    echo(harness);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    REQUIRE(harness.until([&] { return client.got("/|"); }));
    CHECK(client.got("Connection: keep-alive\r\n"));
    harness.step();
    CHECK_FALSE(client.closed());
  }
}

TEST_CASE("HEAD gets the length and no body; 204 gets neither") {
  Harness harness;
  echo(harness);
  Client client = harness.connect();
  SUBCASE("HEAD") {
    client.send("HEAD /x HTTP/1.1\r\nHost: t\r\n\r\n" + get("/next"));
    REQUIRE(harness.until([&] { return client.got("/next|"); }));
    CHECK(client.got("Content-Length: 3\r\n\r\nHTTP/1.1 200 OK"));
  }
  SUBCASE("204") {
    harness.service.on_request = [](ServerConnection& connection) { connection.reply(204, "", ""); };
    client.send(get("/x"));
    REQUIRE(harness.until([&] { return client.got("204 No Content"); }));
    CHECK_FALSE(client.got("Content-Length"));
  }
}

TEST_CASE("Connection: close, asked for by the client or by the service") {
  Harness harness;
  echo(harness);
  Client client = harness.connect();
  SUBCASE("client") { client.send(get("/x", "Connection: close\r\n")); }
  SUBCASE("service") {
    harness.service.on_head = [](ServerConnection& connection) { connection.keep_alive(false); };
    client.send(get("/x"));
  }
  REQUIRE(harness.until([&] { return client.closed(); }));
  CHECK(client.got("Connection: close\r\n"));
  CHECK(client.in.ends_with("/x|"));
  CHECK_FALSE(client.reset);
}

TEST_CASE("a chunked request arrives as one body, also byte by byte, and the next request behind it") {
  Harness harness;
  echo(harness);
  Client client = harness.connect();
  const std::string whole =
      "POST /p HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
      "4\r\nwiki\r\n6;x=y\r\npedia \r\n0\r\nX-T: 1\r\n\r\n" +
      get("/next");
  SUBCASE("at once") { client.send(whole); }
  SUBCASE("trickling") {
    for (const char c : whole) {
      client.send({&c, 1});
      harness.step(1);
    }
  }
  REQUIRE(harness.until([&] { return client.got("/next|"); }));
  CHECK(client.got("/p|wikipedia "));
}

TEST_CASE("a large body arrives whole") {
  Harness harness;
  harness.service.on_request = [](ServerConnection& connection) {
    connection.reply(200, "", std::to_string(connection.body().size()) + "!");
  };
  std::string body(3'000'000, 'x');
  Client client = harness.connect();
  const std::string whole = post(body);
  std::size_t sent = 0;
  REQUIRE(harness.until([&] {
    sent += client.send(std::string_view(whole).substr(sent));
    return client.got("3000000!");
  }));
  CHECK(harness.service.requests[0].substr(8) == body);
  CHECK(harness.budget.used() == 0);
}

TEST_CASE("Expect: 100-continue is answered when the body is still to come and wanted") {
  Harness harness;
  echo(harness);
  Client client = harness.connect();
  const std::string head = "POST /p HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
  SUBCASE("wanted") {
    client.send(head);
    REQUIRE(harness.until([&] { return client.got("HTTP/1.1 100 Continue\r\n\r\n"); }));
    client.send("body");
    REQUIRE(harness.until([&] { return client.got("/p|body"); }));
  }
  SUBCASE("already there") {
    client.send(head + "body");
    REQUIRE(harness.until([&] { return client.got("/p|body"); }));
    CHECK_FALSE(client.got("100 Continue"));
  }
  SUBCASE("refused by the service") {
    harness.service.on_head = [](ServerConnection& connection) { connection.reply(404, "", "no"); };
    client.send(head);
    REQUIRE(harness.until([&] { return client.got("404 Not Found"); }));
    CHECK_FALSE(client.got("100 Continue"));
    CHECK(client.got("Connection: close\r\n"));
    REQUIRE(harness.until([&] { return client.closed(); }));
  }
}

TEST_CASE("what the server refuses itself, and how") {
  ServerLimits limits;
  limits.max_body = 1000;
  limits.max_head = 2000;
  Harness harness(limits, 500);
  Client client = harness.connect();
  const std::string chunked = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
  int status = 0, gone = 0;
  SUBCASE("malformed head") {
    client.send("GET / HTTP/1.1\r\nHost : t\r\n\r\n");
    status = 400;
  }
  SUBCASE("no host") {
    client.send("GET / HTTP/1.1\r\n\r\n");
    status = 400;
  }
  SUBCASE("oversized head") {
    client.send(get("/", "X: " + std::string(3000, 'x') + "\r\n"));
    status = 431;
  }
  SUBCASE("body announced too long") {
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
    status = 413;
  }
  SUBCASE("chunks beyond the budget of bodies") {
    const std::string chunk = "12c\r\n" + std::string(300, 'x') + "\r\n";
    client.send(chunked + chunk + chunk + "0\r\n\r\n");
    status = 503;
    gone = 1;
  }
  SUBCASE("broken chunk") {
    client.send(chunked + "xyz\r\n");
    status = 400;
    gone = 1;
  }
  SUBCASE("budget of bodies exhausted") {
    client.send(post(std::string(600, 'x')));
    status = 503;
    gone = 1;
  }
  REQUIRE(harness.until([&] { return client.got("\"error\""); }));
  CHECK(client.in.starts_with("HTTP/1.1 " + std::to_string(status) + " "));
  CHECK(client.got("Connection: close\r\n"));
  CHECK(client.got("Retry-After: 1\r\n") == (status == 503));
  CHECK(harness.service.errors == std::vector<int>{status});
  CHECK(harness.service.requests.empty());
  CHECK(harness.service.gone == gone);
  REQUIRE(harness.until([&] { return client.closed(); }));
  client.fd.reset();
  REQUIRE(harness.until([&] { return harness.set.connections() == 0; }));
  CHECK(harness.budget.used() == 0);
}

TEST_CASE("chunks that add up to more than max_body are a 413") {
  ServerLimits limits;
  limits.max_body = 1000;
  Harness harness(limits);
  Client client = harness.connect();
  client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" +
              std::string(1001, 'x'));
  REQUIRE(harness.until([&] { return client.got("HTTP/1.1 413 "); }));
  CHECK(harness.service.gone == 1);
}

TEST_CASE("a response that comes before the body reaches a client that is still sending") {
  Harness harness;
  harness.service.on_head = [](ServerConnection& connection) { connection.reply(413, "", "too much"); };
  Client client = harness.connect();
  const std::string whole = post(std::string(4'000'000, 'x'));
  std::size_t sent = 0;
  REQUIRE(harness.until([&] {
    sent += client.send(std::string_view(whole).substr(sent));
    return sent == whole.size();  // what is too much is drained, the client is not cut off
  }));
  REQUIRE(harness.until([&] { return client.closed(); }));
  CHECK_FALSE(client.reset);
  CHECK(client.got("too much"));
  CHECK(harness.service.requests.empty());
}

TEST_CASE("lingering ends: by the client's FIN, by the limit of bytes, by the limit of time") {
  ServerLimits limits;
  limits.linger_timeout = 0;
  limits.linger_bytes = 100'000;
  Harness harness(limits);
  harness.service.on_head = [](ServerConnection& connection) { connection.reply(413, "", "no"); };
  Client client = harness.connect();
  client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n");
  REQUIRE(harness.until([&] { return client.got("413"); }));
  SUBCASE("FIN") { client.fd.reset(); }
  SUBCASE("bytes") {
    const std::string junk(10'000, 'x');
    REQUIRE(harness.until([&] { return client.send(junk) == 0 || harness.set.connections() == 0; }));
  }
  SUBCASE("time") {
    ServerLimits shorter = limits;
    shorter.linger_timeout = 20;
    harness.set.set_limits(shorter);
    client.fd.reset();
    client = harness.connect();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n");
    REQUIRE(harness.until([&] { return client.got("413"); }));
  }
  CHECK(harness.until([&] { return harness.set.connections() == 0; }));
}

}  // namespace
}  // namespace tidegate::http
