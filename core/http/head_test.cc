// Longer than 400 lines: every refused form of a head by its name, in one list.
#include "http/head.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>

namespace tidegate::http {
namespace {

std::span<const char> bytes(std::string_view s) { return {s.data(), s.size()}; }

ParseResult parse_request(std::string_view text, RequestHead& head, HeadLimits limits = {}) {
  return RequestParser(limits).parse(bytes(text), head);
}

// Status and code of the refusal, or "done" / "need_more".
std::string outcome(const ParseResult& r) {
  if (r.done()) return "done";
  if (r.need_more()) return "need_more";
  CHECK_FALSE(r.message.empty());
  return std::to_string(r.status) + " " + std::string(r.code);
}

std::string request(std::string_view text) {
  RequestHead head;
  return outcome(parse_request(text, head));
}

std::string response(std::string_view text) {
  ResponseHead head;
  return outcome(ResponseParser().parse(bytes(text), head));
}

// A POST with Host and the given further header lines.
std::string post(std::string_view lines) {
  return request("POST /v1/completions HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n");
}

std::string target(std::string_view t, std::string_view method = "GET") {
  return request(std::string(method) + " " + std::string(t) + " HTTP/1.1\r\nHost: a\r\n\r\n");
}

std::string host(std::string_view h) {
  return request("GET / HTTP/1.1\r\nHost: " + std::string(h) + "\r\n\r\n");
}

constexpr std::string_view plain =
    "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: gw.example:30000\r\nUser-Agent: curl/8\r\nAccept:*/*\r\n"
    "Content-Type: \t application/json \t\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n"
    "Connection: X-Drop, keep-alive\r\nEmpty:\r\n\r\n";

TEST_CASE("a request head is read without copies") {
  RequestHead head;
  const std::string text = std::string(plain) + "BODY";
  const ParseResult r = parse_request(text, head);
  REQUIRE(r.done());
  CHECK(r.consumed == plain.size());
  CHECK(head.method == "POST");
  CHECK(head.target == "/v1/chat/completions?x=1");
  CHECK(head.path == "/v1/chat/completions");
  CHECK(head.query == "x=1");
  CHECK(head.version == 11);
  CHECK(head.host == "gw.example:30000");
  CHECK(head.content_length == 12);
  CHECK(head.has_body());
  CHECK_FALSE(head.chunked);
  CHECK(head.keep_alive);
  CHECK(head.expect_continue);
  REQUIRE(head.fields.size() == 8);
  CHECK(head.value("content-type") == "application/json");
  CHECK(head.value("EMPTY") == "");
  CHECK(head.find("missing") == nullptr);
  REQUIRE(head.connection_names.size() == 2);
  CHECK(head.connection_names[0] == "X-Drop");
  CHECK(head.method.data() == text.data());
  CHECK(head.fields.back().name.data() > text.data());
  CHECK(head.fields.back().name.data() < text.data() + text.size());
}

TEST_CASE("a head that trickles in byte by byte, in a buffer that moves, gives the same") {
  RequestParser parser;
  RequestHead head;
  for (std::size_t n = 0; n < plain.size(); ++n) {
    const std::string part(plain.substr(0, n));
    REQUIRE(parser.parse(bytes(part), head).need_more());
    CHECK(parser.in_head() == (n > 0));
  }
  REQUIRE(parser.parse(bytes(plain), head).done());
  CHECK(head.fields.size() == 8);
  CHECK_FALSE(parser.in_head());
}

TEST_CASE("pipelined heads are taken one by one") {
  const std::string two =
      std::string("GET /a HTTP/1.1\r\nHost: a\r\n\r\n") + "GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
  RequestParser parser;
  RequestHead head;
  ParseResult r = parser.parse(bytes(two), head);
  REQUIRE(r.done());
  CHECK(head.path == "/a");
  r = parser.parse(bytes(std::string_view(two).substr(r.consumed)), head);
  REQUIRE(r.done());
  CHECK(head.path == "/b");
  CHECK(head.fields.size() == 1);
}

TEST_CASE("keep-alive follows version and Connection") {
  const auto keep = [](std::string_view text) {
    RequestHead head;
    REQUIRE(parse_request(text, head).done());
    return head.keep_alive;
  };
  CHECK(keep("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  CHECK_FALSE(keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n"));
  CHECK_FALSE(keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: x, close\r\n\r\n"));
  CHECK_FALSE(keep("GET / HTTP/1.0\r\n\r\n"));
  CHECK(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

TEST_CASE("HTTP/1.0 may lack Host and gets no 100-continue") {
  RequestHead head;
  REQUIRE(parse_request("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", head).done());
  CHECK(head.version == 10);
  CHECK(head.host.empty());
  CHECK_FALSE(head.expect_continue);
}

TEST_CASE("length and coding: what is taken") {
  CHECK(post("Content-Length: 0\r\n") == "done");
  CHECK(post("Content-Length: 007\r\n") == "done");
  CHECK(post("Transfer-Encoding: chunked\r\n") == "done");
  CHECK(post("transfer-encoding:CHUNKED\r\n") == "done");
}

TEST_CASE("smuggling by lengths is refused") {
  const std::string repeated = "400 content_length_repeated", malformed = "400 content_length_malformed";
  SUBCASE("two equal lengths") { CHECK(post("Content-Length: 5\r\nContent-Length: 5\r\n") == repeated); }
  SUBCASE("two different lengths") { CHECK(post("Content-Length: 5\r\nContent-Length: 6\r\n") == repeated); }
  SUBCASE("a list of equal lengths") { CHECK(post("Content-Length: 5, 5\r\n") == malformed); }
  SUBCASE("a list of different lengths") { CHECK(post("Content-Length: 5, 6\r\n") == malformed); }
  SUBCASE("a trailing comma") { CHECK(post("Content-Length: 5,\r\n") == malformed); }
  SUBCASE("plus sign") { CHECK(post("Content-Length: +5\r\n") == malformed); }
  SUBCASE("minus sign") { CHECK(post("Content-Length: -5\r\n") == malformed); }
  SUBCASE("hexadecimal") { CHECK(post("Content-Length: 0x5\r\n") == malformed); }
  SUBCASE("inner blank") { CHECK(post("Content-Length: 5 5\r\n") == malformed); }
  SUBCASE("empty") { CHECK(post("Content-Length:\r\n") == malformed); }
  SUBCASE("fraction") { CHECK(post("Content-Length: 5.0\r\n") == malformed); }
  SUBCASE("over 2^64") { CHECK(post("Content-Length: 18446744073709551621\r\n") == malformed); }
  SUBCASE("over 2^63") { CHECK(post("Content-Length: 9223372036854775808\r\n") == malformed); }
}

TEST_CASE("smuggling by both lengths is refused") {
  SUBCASE("length first") {
    CHECK(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") == "400 both_lengths");
  }
  SUBCASE("coding first") {
    CHECK(post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") == "400 both_lengths");
  }
  SUBCASE("length 0") {
    CHECK(post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") == "400 both_lengths");
  }
  SUBCASE("odd coding") {
    CHECK(post("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n") == "400 both_lengths");
  }
}

TEST_CASE("smuggling by codings is refused") {
  const std::string unknown = "400 transfer_encoding_unknown", repeated = "400 transfer_encoding_repeated";
  SUBCASE("other coding") { CHECK(post("Transfer-Encoding: gzip\r\n") == unknown); }
  SUBCASE("identity") { CHECK(post("Transfer-Encoding: identity\r\n") == unknown); }
  SUBCASE("list ending in chunked") { CHECK(post("Transfer-Encoding: gzip, chunked\r\n") == unknown); }
  SUBCASE("list starting with chunked") { CHECK(post("Transfer-Encoding: chunked, gzip\r\n") == unknown); }
  SUBCASE("chunked twice in a list") { CHECK(post("Transfer-Encoding: chunked, chunked\r\n") == unknown); }
  SUBCASE("empty list member") { CHECK(post("Transfer-Encoding: ,chunked\r\n") == unknown); }
  SUBCASE("empty") { CHECK(post("Transfer-Encoding:\r\n") == unknown); }
  SUBCASE("with parameter") { CHECK(post("Transfer-Encoding: chunked;q=1\r\n") == unknown); }
  SUBCASE("quoted") { CHECK(post("Transfer-Encoding: \"chunked\"\r\n") == unknown); }
  SUBCASE("prefixed") { CHECK(post("Transfer-Encoding: xchunked\r\n") == unknown); }
  SUBCASE("two fields") {
    CHECK(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") == repeated);
    CHECK(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") == repeated);
    CHECK(post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n") == unknown);
  }
  SUBCASE("vertical tab before the coding") {
    CHECK(post("Transfer-Encoding: \x0b"
               "chunked\r\n") == "400 malformed_header");
  }
  SUBCASE("on HTTP/1.0") {
    CHECK(request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == unknown);
  }
}

TEST_CASE("smuggling by lines and folds is refused") {
  SUBCASE("fold with blank") { CHECK(post("X: a\r\n b\r\n") == "400 folded_header"); }
  SUBCASE("fold with tab") { CHECK(post("X: a\r\n\tb\r\n") == "400 folded_header"); }
  SUBCASE("fold inside Transfer-Encoding") {
    CHECK(post("Transfer-Encoding:\r\n chunked\r\n") == "400 folded_header");
  }
  SUBCASE("fold that hides Transfer-Encoding") {
    CHECK(post("X: a\r\n Transfer-Encoding: chunked\r\n") == "400 folded_header");
  }
  SUBCASE("fold of blanks alone") { CHECK(post("X: a\r\n \r\n") == "400 folded_header"); }
  SUBCASE("fold behind the first line") {
    CHECK(request("GET / HTTP/1.1\r\n Host: a\r\n\r\n") == "400 folded_header");
  }
  SUBCASE("bare LF in the head") { CHECK(post("X: a\nY: b\r\n") == "400 malformed_line_end"); }
  SUBCASE("bare LF ends the head") {
    CHECK(request("GET / HTTP/1.1\nHost: a\n\n") == "400 malformed_line_end");
  }
  SUBCASE("CR LF LF ends the head") {
    CHECK(request("GET / HTTP/1.1\r\nHost: a\r\n\n") == "400 malformed_line_end");
  }
  SUBCASE("bare CR in a value") {
    CHECK(post("X: a\rTransfer-Encoding: chunked\r\n") == "400 malformed_line_end");
  }
  SUBCASE("CR CR LF") { CHECK(post("X: a\r\r\n") == "400 malformed_line_end"); }
  SUBCASE("bare CR in the first line") {
    CHECK(request("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n") == "400 malformed_target");
  }
  SUBCASE("CR before the first line") {
    CHECK(request("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n") == "400 malformed_head");
  }
  SUBCASE("NUL in a value") { CHECK(post(std::string_view("X: a\0b\r\n", 8)) == "400 malformed_header"); }
  SUBCASE("NUL in a name") { CHECK(post(std::string_view("X\0: a\r\n", 7)) == "400 malformed_header"); }
  SUBCASE("control in a value") { CHECK(post("X: a\x01\r\n") == "400 malformed_header"); }
  SUBCASE("DEL in a value") { CHECK(post("X: a\x7f\r\n") == "400 malformed_header"); }
  SUBCASE("bytes above 0x7f in a value") { CHECK(post("X: \xc3\xa9\r\n") == "400 malformed_header"); }
}

TEST_CASE("smuggling by header names is refused") {
  const std::string malformed = "400 malformed_header";
  SUBCASE("blank before colon") { CHECK(post("Transfer-Encoding : chunked\r\n") == malformed); }
  SUBCASE("tab before colon") { CHECK(post("Content-Length\t: 5\r\n") == malformed); }
  SUBCASE("empty name") { CHECK(post(": a\r\n") == malformed); }
  SUBCASE("no colon") { CHECK(post("Host\r\n") == malformed); }
  SUBCASE("blank in the name") { CHECK(post("Content Length: 5\r\n") == malformed); }
  SUBCASE("not a token") { CHECK(post("X(y): 5\r\n") == malformed); }
  SUBCASE("byte above 0x7f") { CHECK(post("X\xe9: 5\r\n") == malformed); }
  SUBCASE("an underscore for a dash") { CHECK(post("transfer_Encoding: chunked\r\n") == malformed); }
}

TEST_CASE("a request is for exactly one sane Host") {
  SUBCASE("none on HTTP/1.1") { CHECK(request("GET / HTTP/1.1\r\n\r\n") == "400 host_missing"); }
  SUBCASE("two") { CHECK(post("Host: b\r\n") == "400 host_repeated"); }
  SUBCASE("two equal") { CHECK(post("host: a\r\n") == "400 host_repeated"); }
  SUBCASE("two on HTTP/1.0") {
    CHECK(request("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n") == "400 host_repeated");
  }
  for (const char* good : {"a", "a:80", "10.0.0.1:8000", "[::1]", "[::1]:80", "a_b-c.d", "a:"}) {
    CAPTURE(good);
    CHECK(host(good) == "done");
  }
  for (const char* bad : {"", "a b", "a,b", "u@a", "a/b", "a:b", "a:80:80", "[::1", "::1", "[::1]x", "a?b",
                          "a#b", "a:123456", "a\\b", ":80", "%zz", "a%00"}) {
    CAPTURE(bad);
    CHECK(host(bad) == "400 host_malformed");
  }
}

TEST_CASE("targets: origin-form, asterisk for OPTIONS, absolute-form of the same authority") {
  for (const char* good : {"/", "/a/b?c=d&e={f}|g", "/%20", "//a", "http://a/", "HTTPS://A/x?y"}) {
    CAPTURE(good);
    CHECK(target(good) == "done");
  }
  for (const char* bad :
       {"a",    "?x",       "*",    "http://b/", "http://a", "http://a?x", "ftp://a/", "http://u@a/",
        "a:80", "/#f",      "/\"",  "/<",        "/\\..",    "/%",         "/%2",      "/%zz",
        "/%00", "/%0d%0aX", "/%7f", "/\xc3\xa9", "/\x01",    "/\x7f"}) {
    CAPTURE(bad);
    CHECK(target(bad) == "400 malformed_target");
  }
  CHECK(target("/a b") == "400 malformed_target");
  CHECK(target(" /a") == "400 malformed_target");
}

TEST_CASE("absolute-form arrives reduced") {
  RequestHead head;
  REQUIRE(parse_request("GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n", head).done());
  CHECK(head.target == "/x?y");
  CHECK(head.path == "/x");
}

TEST_CASE("names are compared without case, whatever their length and wherever they differ") {
  const auto lowered = [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
  for (const std::size_t size : {1u, 7u, 8u, 9u, 17u}) {
    for (const std::size_t at : {std::size_t{0}, size / 2, size - 1}) {
      std::string left(size, 'q'), right(size, 'Q');
      for (int a = 0; a < 256; ++a) {
        for (int b = 0; b < 256; ++b) {
          left[at] = static_cast<char>(a);
          right[at] = static_cast<char>(b);
          const bool same = lowered(static_cast<unsigned char>(a)) == lowered(static_cast<unsigned char>(b));
          if (iequals(left, right) != same) FAIL(size << " " << at << " " << a << " " << b);
        }
      }
    }
  }
  CHECK_FALSE(iequals("host", "hosts"));
  CHECK(iequals("", ""));
}

TEST_CASE("methods") {
  CHECK(target("*", "OPTIONS") == "done");
  CHECK(target("/", "M-SEARCH") == "done");
  CHECK(target("a:80", "CONNECT") == "400 method_not_supported");
  CHECK(target("/", "CONNECT") == "400 method_not_supported");
  CHECK(target("/", "GE(T") == "400 malformed_method");
  CHECK(target("/", "GE\tT") == "400 malformed_method");
  CHECK(target("/", "(") == "400 malformed_head");
}

TEST_CASE("other protocols are refused as soon as the first line is there") {
  CHECK(request("GET /\r\n") == "400 malformed_head");
  CHECK(request("GET / \r\n") == "400 malformed_head");
  CHECK(request("PRI * HTTP/2.0\r\n") == "505 http_version_not_supported");
  CHECK(request("GET / HTTP/2.0\r\n") == "505 http_version_not_supported");
  CHECK(request("GET / HTTP/1.2\r\n") == "505 http_version_not_supported");
  CHECK(request("GET / HTTP/0.9\r\n") == "505 http_version_not_supported");
  CHECK(request("GET / http/1.1\r\n") == "400 malformed_head");
  CHECK(request("GET / HTTP/1.1 \r\n") == "400 malformed_head");
  CHECK(request("GET / HTTP/01.1\r\n") == "400 malformed_head");
  CHECK(request("\x16\x03\x01") == "400 malformed_head");
  CHECK(request(" GET / HTTP/1.1\r\n") == "400 malformed_head");
  CHECK(request("\tGET / HTTP/1.1\r\n") == "400 malformed_head");
}

TEST_CASE("two empty lines before a request are tolerated, no more, and none before a response") {
  RequestHead head;
  const std::string text = "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const ParseResult r = parse_request(text, head);
  REQUIRE(r.done());
  CHECK(r.consumed == text.size());
  CHECK(request("\r\n" + text) == "400 malformed_head");
  CHECK(request("\n" + text) == "400 malformed_head");
  CHECK(request("\r\n\r\n\r") == "need_more");
  CHECK(response("\r\nHTTP/1.1 200 OK\r\n\r\n") == "400 malformed_head");
  RequestParser trickled;
  for (std::size_t n = 0; n < text.size(); ++n) {
    REQUIRE(trickled.parse(bytes(std::string_view(text).substr(0, n)), head).need_more());
  }
  CHECK(trickled.parse(bytes(text), head).done());
}

TEST_CASE("heads are bounded in bytes and fields") {
  RequestHead head;
  const std::string small = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
  const auto limit = static_cast<std::uint32_t>(small.size());
  CHECK(outcome(parse_request(small, head, {limit, 2})) == "done");
  CHECK(outcome(parse_request(small, head, {limit - 1, 2})) == "431 head_too_large");
  CHECK(outcome(parse_request(small, head, {limit, 1})) == "431 too_many_headers");
  const std::string endless = "GET /" + std::string(100, 'a');
  CHECK(outcome(parse_request(endless, head, {100, 8})) == "431 head_too_large");
}

TEST_CASE("a response head is read") {
  ResponseHead head;
  const std::string text = "HTTP/1.1 200 All \xc3\xa9 well\r\nContent-Length: 3\r\nX: \xc3\xa9\r\n\r\nabc";
  const ParseResult r = ResponseParser().parse(bytes(text), head);
  REQUIRE(r.done());
  CHECK(r.consumed == text.size() - 3);
  CHECK(head.status == 200);
  CHECK(head.reason == "All \xc3\xa9 well");
  CHECK(head.content_length == 3);
  CHECK(head.keep_alive);
  CHECK(head.value("x") == "\xc3\xa9");
  CHECK(response("HTTP/1.1 200 \r\n\r\n") == "done");
}

TEST_CASE("an informational response is surfaced, and the final one follows with the same parser") {
  const std::string text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
  ResponseParser parser;
  ResponseHead head;
  ParseResult r = parser.parse(bytes(text), head);
  REQUIRE(r.done());
  CHECK(head.informational());
  r = parser.parse(bytes(std::string_view(text).substr(r.consumed)), head);
  REQUIRE(r.done());
  CHECK(head.status == 404);
  CHECK_FALSE(head.informational());
}

TEST_CASE("how a response body ends, and whether the connection lives on") {
  const auto kind = [](std::string_view text, bool was_head = false) {
    ResponseHead head;
    REQUIRE(ResponseParser().parse(bytes(text), head).done());
    return std::pair(response_body_kind(head, was_head), head.keep_alive);
  };
  CHECK(kind("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n") == std::pair(BodyKind::length, true));
  CHECK(kind("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == std::pair(BodyKind::length, true));
  CHECK(kind("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") == std::pair(BodyKind::chunked, true));
  CHECK(kind("HTTP/1.1 200 OK\r\n\r\n") == std::pair(BodyKind::until_close, false));
  CHECK(kind("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n") == std::pair(BodyKind::until_close, false));
  CHECK(kind("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n") ==
        std::pair(BodyKind::length, true));
  CHECK(kind("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true) == std::pair(BodyKind::none, true));
  CHECK(kind("HTTP/1.1 204 No\r\n\r\n") == std::pair(BodyKind::none, true));
  CHECK(kind("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n") == std::pair(BodyKind::none, false));
  CHECK(kind("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n") == std::pair(BodyKind::none, false));
  CHECK(kind("HTTP/1.1 304 Not\r\nContent-Length: 3\r\n\r\n") == std::pair(BodyKind::none, true));
}

TEST_CASE("responses are read as strictly as requests") {
  CHECK(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n") ==
        "400 both_lengths");
  CHECK(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n") ==
        "400 content_length_repeated");
  CHECK(response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n") ==
        "400 transfer_encoding_unknown");
  CHECK(response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") == "400 transfer_encoding_unknown");
  CHECK(response("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n") == "400 folded_header");
  CHECK(response("HTTP/1.1 200 OK\nX: a\n\n") == "400 malformed_line_end");
  CHECK(response("HTTP/1.1 200 OK\r\nX : a\r\n\r\n") == "400 malformed_header");
  CHECK(response("HTTP/1.1 099 OK\r\n\r\n") == "400 malformed_status");
  CHECK(response("HTTP/1.1 600 OK\r\n\r\n") == "400 malformed_status");
  CHECK(response("HTTP/1.1 20 OK\r\n\r\n") == "400 malformed_status");
  CHECK(response("HTTP/2 200\r\n\r\n") == "505 http_version_not_supported");
  CHECK(response("SSH-2.0-x\r\n\r\n") == "505 http_version_not_supported");
}

TEST_CASE("every cut of every refused head is refused or waits, and never passes") {
  for (const char* lines : {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "X: a\r\n b\r\n",
                            "X: a\nb\r\n", "Transfer-Encoding : chunked\r\n", "Host: b\r\n"}) {
    const std::string text = "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n";
    RequestParser parser;
    RequestHead head;
    ParseResult r;
    for (std::size_t n = 1; n <= text.size() && !r.failed(); ++n) {
      r = parser.parse(bytes(std::string_view(text).substr(0, n)), head);
      REQUIRE_FALSE(r.done());
    }
    CHECK(r.failed());
  }
}

}  // namespace
}  // namespace tidegate::http
