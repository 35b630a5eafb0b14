#include "http/header_rules.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace tidegate::http {
namespace {

// A parsed request; keeps the text that the head points into.
struct Request {
  std::string text;
  RequestHead head;

  explicit Request(const std::string& lines)
      : text("POST /v1/x?y HTTP/1.1\r\nHost: gw\r\n" + lines + "\r\n") {
    REQUIRE(RequestParser().parse({text.data(), text.size()}, head).done());
  }
};

ForwardContext context() {
  ForwardContext c;
  c.authority = "10.0.0.1:8000";
  c.client_address = "192.0.2.1";
  c.request_id = "minted";
  c.content_length = 5;
  return c;
}

std::string forward(const std::string& lines, const ForwardContext& c) {
  const Request request(lines);
  std::string out;
  REQUIRE(write_request_head(request.head, c, out).ok);
  // What is sent must itself be a head that we would take.
  RequestHead again;
  REQUIRE(RequestParser().parse({out.data(), out.size()}, again).done());
  return out;
}

std::string forward(const std::string& lines) { return forward(lines, context()); }

bool has(const std::string& head, const std::string& line) {
  return head.find("\r\n" + line + "\r\n") != std::string::npos;
}

bool names(const std::string& head, const std::string& name) {
  return head.find("\r\n" + name + ":") != std::string::npos;
}

TEST_CASE("a request goes on with its method, target and end-to-end headers, in order") {
  CHECK(forward("A: 1\r\nContent-Type: application/json\r\nContent-Length: 99\r\nA: 2\r\n") ==
        "POST /v1/x?y HTTP/1.1\r\nHost: 10.0.0.1:8000\r\nA: 1\r\nContent-Type: application/json\r\nA: 2\r\n"
        "Accept-Encoding: identity\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n"
        "X-Forwarded-Host: gw\r\nX-Request-Id: minted\r\nContent-Length: 5\r\n\r\n");
}

TEST_CASE("what belongs to one hop stays here") {
  const std::string out = forward(
      "Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nProxy-Connection: "
      "x\r\nTE: trailers\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nHTTP2-Settings: "
      "x\r\nExpect: 100-continue\r\n");
  for (const char* name : {"Connection", "X-Hop", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
                           "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Expect"}) {
    CAPTURE(name);
    CHECK_FALSE(names(out, name));
  }
  CHECK(has(out, "Content-Length: 5"));
}

TEST_CASE("Connection can't take away what the gateway sets") {
  const std::string out =
      forward("Connection: Host, Content-Length, X-Forwarded-For, X-Request-Id\r\nX-Request-Id: a\r\n");
  CHECK(has(out, "Content-Length: 5"));
  CHECK(has(out, "X-Forwarded-For: 192.0.2.1"));
  CHECK(has(out, "X-Request-Id: a"));
}

TEST_CASE("X-Forwarded-For grows, X-Forwarded-Proto is ours, X-Forwarded-Host is the first") {
  const std::string out = forward(
      "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX-Forwarded-Proto: "
      "https\r\nX-Forwarded-Host: first\r\n");
  CHECK(has(out, "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.1"));
  CHECK(has(out, "X-Forwarded-Proto: http"));
  CHECK(has(out, "X-Forwarded-Host: first"));
}

TEST_CASE("a sane request id is kept, another is replaced") {
  CHECK(has(forward("X-Request-ID: abc-1\r\n"), "X-Request-Id: abc-1"));
  CHECK(has(forward("X-Request-ID: a b\r\n"), "X-Request-Id: minted"));
  CHECK(has(forward("X-Request-ID:\r\n"), "X-Request-Id: minted"));
  CHECK(has(forward("X-Request-ID: " + std::string(129, 'a') + "\r\n"), "X-Request-Id: minted"));
  CHECK(has(forward("X-Request-ID: a\r\nX-Request-ID: b\r\n"), "X-Request-Id: minted"));
}

TEST_CASE("a well-formed traceparent is kept, another is replaced") {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  ForwardContext c = context();
  c.traceparent = "00-11111111111111111111111111111111-2222222222222222-00";
  CHECK(has(forward("traceparent: " + good + "\r\n", c), "Traceparent: " + good));
  CHECK(has(forward("", c), "Traceparent: " + std::string(c.traceparent)));
  CHECK_FALSE(valid_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
  CHECK_FALSE(valid_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
  CHECK_FALSE(valid_traceparent("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
  CHECK_FALSE(valid_traceparent("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  CHECK_FALSE(valid_traceparent(good + "-x"));
}

TEST_CASE("authorization passes, is replaced or is dropped") {
  ForwardContext c = context();
  CHECK(has(forward("Authorization: Bearer a\r\n", c), "Authorization: Bearer a"));
  c.authorization = "Bearer worker";
  CHECK(has(forward("Authorization: Bearer a\r\n", c), "Authorization: Bearer worker"));
  CHECK_FALSE(has(forward("Authorization: Bearer a\r\n", c), "Authorization: Bearer a"));
  c.authorization = "";
  CHECK_FALSE(names(forward("Authorization: Bearer a\r\n", c), "Authorization"));
}

TEST_CASE("responses are asked for in a form that can be watched") {
  const std::string out = forward("Accept-Encoding: gzip, br\r\n");
  CHECK(has(out, "Accept-Encoding: identity"));
  CHECK(out.find("gzip") == std::string::npos);
}

TEST_CASE("a plan's edits set and drop headers") {
  const std::vector<HeaderEdit> edits{{HeaderEdit::Kind::set, "x-set", "1"},
                                      {HeaderEdit::Kind::set, "X-Set", "2"},
                                      {HeaderEdit::Kind::drop, "x-gone"},
                                      {HeaderEdit::Kind::set, "X-Request-Id", "plan"}};
  ForwardContext c = context();
  c.edits = edits;
  const std::string out = forward("X-SET: 0\r\nX-Gone: 1\r\nX-Request-Id: client\r\n", c);
  CHECK(has(out, "X-Set: 2"));
  CHECK_FALSE(names(out, "X-SET"));
  CHECK_FALSE(names(out, "x-set"));
  CHECK_FALSE(names(out, "X-Gone"));
  CHECK(has(out, "X-Request-Id: plan"));
  CHECK(out.find("client") == std::string::npos);
}

TEST_CASE("edits that could smuggle are refused, and nothing is written") {
  using namespace std::string_view_literals;
  for (const HeaderEdit& bad :
       std::vector<HeaderEdit>{{HeaderEdit::Kind::set, "X", "a\r\nY: b"},
                               {HeaderEdit::Kind::set, "X", "a\nb"},
                               {HeaderEdit::Kind::set, "X", "a\rb"},
                               {HeaderEdit::Kind::set, "X", "a\0b"sv},
                               {HeaderEdit::Kind::set, "X\r\nY", "a"},
                               {HeaderEdit::Kind::set, "X ", "a"},
                               {HeaderEdit::Kind::set, "", "a"},
                               {HeaderEdit::Kind::set, "Content-Length", "1"},
                               {HeaderEdit::Kind::set, "transfer-encoding", "chunked"},
                               {HeaderEdit::Kind::set, "Host", "b"},
                               {HeaderEdit::Kind::drop, "Host"},
                               {HeaderEdit::Kind::set, "Connection", "close"}}) {
    CAPTURE(bad.name);
    const Request request("");
    const std::vector<HeaderEdit> edits{{HeaderEdit::Kind::set, "ok", "1"}, bad};
    ForwardContext c = context();
    c.edits = edits;
    std::string out = "before";
    const Forwarded result = write_request_head(request.head, c, out);
    CHECK_FALSE(result.ok);
    CHECK(result.bad_edit == 1);
    CHECK(out == "before");
  }
}

}  // namespace
}  // namespace tidegate::http
