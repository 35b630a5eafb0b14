#include "plugin/host_http.h"

#include <chrono>
#include <stdexcept>

#include <doctest/doctest.h>

#include "plugin/host_http_test_support.h"
#include "plugin/stop_token.h"

namespace tidegate::plugin {
namespace {

using testing::HttpClient;
using testing::HttpResult;
using testing::Peer;
using testing::reply_of;
using testing::Server;
using testing::StopAtAsk;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }
// Serves one text to whoever asks.
Server::Script answering(const std::string& text) {
  return [text](Peer& p) { p.head(), p.send(text); };
}

TEST_CASE_FIXTURE(HttpClient, "a call sends method, headers and body and gets status, all headers and body") {
  std::string seen;
  Server server([&](Peer& p) {
    seen = p.head();
    seen += p.receive_until("four");
    p.send("HTTP/1.1 404 Not Found\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 4\r\n\r\ngone");
  });
  const std::string url = server.url("/a%2Fb?watch=1&x=%20#frag");
  tg_http_call c = to(url);
  const tg_kv headers[] = {{tg_cstr("X-Mine"), tg_cstr("yes")}, {tg_cstr("Accept"), tg_cstr("text/plain")}};
  c.method = tg_cstr("POST");
  c.body = tg_cstr("two four");
  c.headers = headers;
  c.header_count = 2;
  const HttpResult r = call(c);
  CHECK(r.text == "");
  REQUIRE(r.status == TG_OK);
  CHECK(r.code == 404);
  CHECK(r.body == "gone");
  CHECK(r.headers[0] == std::pair<std::string, std::string>("X-A", "1"));
  CHECK(r.headers[1] == std::pair<std::string, std::string>("X-A", "2"));
  CHECK(seen.starts_with("POST /a%2Fb?watch=1&x=%20 HTTP/1.1\r\n"));  // escapes as they were given
  CHECK(contains(seen, "\r\nHost: 127.0.0.1:" + std::to_string(server.port()) + "\r\n"));
  CHECK(contains(seen, "\r\nX-Mine: yes\r\n"));
  CHECK(contains(seen, "\r\nContent-Length: 8\r\n"));
  CHECK(seen.ends_with("two four"));
}

TEST_CASE_FIXTURE(HttpClient, "a redirect is returned as it is") {
  Server server(
      answering("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"));
  const HttpResult r = get(server.url());
  CHECK(r.code == 302);
  CHECK(r.header("Location") == "http://127.0.0.1:1/");
}

TEST_CASE_FIXTURE(HttpClient, "IPv6 addresses are taken in brackets") {
  std::string seen;
  Server server([&](Peer& p) { seen = p.head(), p.send(reply_of("six")); }, nullptr, AF_INET6);
  if (!server.ready()) {
    MESSAGE("skipped: this machine has no IPv6 loopback");
    return;
  }
  CHECK(get(server.url()).body == "six");
  CHECK(contains(seen, "\r\nHost: [::1]:"));
}

TEST_CASE_FIXTURE(HttpClient, "host names are looked up") {
  Server server(answering(reply_of("found")));
  CHECK(get("http://localhost:" + std::to_string(server.port())).body == "found");
}

TEST_CASE_FIXTURE(HttpClient,
                  "bodies come by length, chunked with trailers, up to the close, or not at all") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string chunked = ok + "Transfer-Encoding: chunked\r\n\r\n";
  const std::pair<std::string, std::string> cases[] = {
      {reply_of("hello"), "hello"},
      {chunked + "2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n", "hello"},
      {"HTTP/1.0 200 OK\r\n\r\nhello", "hello"},
      {"HTTP/1.1 204 No Content\r\n\r\n", ""},
      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply_of("hello"), "hello"}};
  for (const auto& [sent, body] : cases) {
    CAPTURE(sent);
    Server server(answering(sent));
    const HttpResult r = get(server.url());
    CHECK(r.text == "");
    CHECK(r.body == body);
  }
}

TEST_CASE_FIXTURE(HttpClient, "a cut or damaged reply is no reply") {
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& sent :
       {std::string(), std::string("HTTP/1.1 200 OK\r\nX: 1\r\n"), std::string("SSH-2.0-x\r\n\r\n"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), chunked + "5\r\nhel",
        chunked + "5\r\nhello\r\n", chunked + "5\r\nhelloworld", chunked + "5\r\nhelloXX\r\n0\r\n\r\n",
        chunked + "zz\r\n", chunked + "fffffffffffffffff\r\n",
        std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx")}) {
    CAPTURE(sent);
    Server server(answering(sent));
    const HttpResult r = get(server.url());
    CHECK(r.status == TG_E_UNAVAILABLE);
    CHECK(r.says("expected"));
    CHECK(r.heads == 0);
  }
}

TEST_CASE_FIXTURE(HttpClient, "a body longer than max_body fails, told or not") {
  for (const std::string& sent : {reply_of("12345678"), std::string("HTTP/1.0 200 OK\r\n\r\n12345678")}) {
    CAPTURE(sent);
    Server server(answering(sent));
    const std::string url = server.url();
    tg_http_call c = to(url);
    c.max_body = 7;
    CHECK(call(c).status == TG_E_LIMIT);
    c.max_body = 8;
    CHECK(call(c).body == "12345678");
  }
}

TEST_CASE_FIXTURE(HttpClient, "a body of more than 16 MiB fails without a max_body") {
  Server server(answering("HTTP/1.1 200 OK\r\nContent-Length: 16777217\r\n\r\n"));
  CHECK(get(server.url()).status == TG_E_LIMIT);
}

TEST_CASE_FIXTURE(HttpClient, "a call is over after timeout_ms, also when bytes trickle") {
  Server server([](Peer& p) {
    p.head();
    p.send("HTTP/1.1 200 OK\r\n\r\n");
    for (int i = 0; i < 1000 && p.send("x"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  const std::string url = server.url();
  tg_http_call c = to(url);
  c.timeout_ms = 150;
  const HttpResult r = call(c);
  CHECK(r.status == TG_E_TIMEOUT);
  CHECK(r.says("150 ms"));
}

TEST_CASE_FIXTURE(HttpClient, "nobody listening is unavailable, with address and reason") {
  int port = 0;
  {
    port = Server([](Peer&) {}).port();
  }
  const HttpResult r = get("http://127.0.0.1:" + std::to_string(port) + "/secret-path");
  CHECK(r.status == TG_E_UNAVAILABLE);
  CHECK(r.says("127.0.0.1:" + std::to_string(port)));
  CHECK(r.says("refused"));
  CHECK_FALSE(r.says("secret-path"));
}

TEST_CASE_FIXTURE(HttpClient, "an early answer to a body that is not read is taken") {
  Server server([](Peer& p) { p.head(), p.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"); });
  const std::string body(std::size_t{32} << 20, 'x'), url = server.url();
  tg_http_call c = to(url);
  c.method = tg_cstr("POST");
  c.body = to_str(body);
  CHECK(call(c).code == 413);
}

TEST_CASE_FIXTURE(HttpClient, "the stop token ends a call while it waits for bytes") {
  StopToken stop;
  Server server([&](Peer& p) { p.head(), stop.request(), p.wait_gone(); });
  const std::string url = server.url();
  const HttpResult r = call(to(url), stop.abi());
  CHECK(r.status == TG_E_CANCELLED);
  CHECK(r.heads == 0);
}

TEST_CASE_FIXTURE(HttpClient, "the stop token ends a call while it connects") {
  // Nobody accepts: with its queue full, the listener leaves further connections without an answer.
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&at), size) == 0);
  REQUIRE(::listen(listener, 0) == 0);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
  int fillers[4];
  for (int& fd : fillers) {
    fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    // In progress for ever, which is what fills the queue.
    static_cast<void>(::connect(fd, reinterpret_cast<sockaddr*>(&at), size));
  }
  StopAtAsk stop(4);
  const std::string url = "http://127.0.0.1:" + std::to_string(ntohs(at.sin_port));
  const HttpResult r = call(to(url), &stop);
  CHECK(r.status == TG_E_CANCELLED);
  CHECK(r.says("connecting"));
  for (const int fd : fillers) ::close(fd);
  ::close(listener);
}

TEST_CASE_FIXTURE(HttpClient, "a stop wanted before the call lets nothing out") {
  std::atomic<int> connections{0};
  Server server([&](Peer&) { ++connections; });
  StopAtAsk stop(1);
  const std::string url = server.url();
  CHECK(call(to(url), &stop).status == TG_E_CANCELLED);
  CHECK(connections == 0);
}

TEST_CASE_FIXTURE(HttpClient, "a stream hands on the head, then bytes as they come, to the server's end") {
  std::string got;
  std::atomic<int> pieces{0};
  Server server([&](Peer& p) {
    p.head();
    p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-B: b\r\n\r\n");
    for (int i = 0; i < 3; ++i) {  // the next one only when the last has come out at the other side
      p.send("4\r\nline\r\n");
      while (pieces.load() <= i) pieces.wait(i);
    }
    p.send("0\r\n\r\n");
  });
  const std::string url = server.url();
  const HttpResult r = stream(to(url), [&](std::string_view) {
    ++pieces;
    pieces.notify_all();
    return true;
  });
  pieces = 3;
  pieces.notify_all();
  CHECK(r.text == "");
  CHECK(r.status == TG_OK);
  CHECK(r.heads == 1);
  CHECK(r.header("X-B") == "b");
  CHECK(r.body == "linelineline");
}

// More than anybody wants, in the framing given by the head; bounded, so that a broken end shows as a
// failure.
Server::Script endless(const std::string& head, const std::string& piece) {
  return [=](Peer& p) {
    p.head();
    p.send(head);
    for (int i = 0; i < 100'000 && p.send(piece); ++i) {
    }
  };
}

TEST_CASE_FIXTURE(HttpClient,
                  "an endless stream, chunked or up to the close, is ended by false or by the stop token") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  for (const auto& script : {endless(ok + "Transfer-Encoding: chunked\r\n\r\n", "5\r\nevent\r\n"),
                             endless(ok + "\r\n", "event")}) {
    Server server(script);
    const std::string url = server.url();
    int pieces = 0;
    const HttpResult cut = stream(to(url), [&](std::string_view) { return ++pieces < 10; });
    CHECK(cut.status == TG_OK);
    CHECK(pieces == 10);
    StopToken stop;
    const HttpResult stopped = stream(
        to(url), [&](std::string_view) { return stop.request(), true; }, stop.abi());
    CHECK(stopped.status == TG_E_CANCELLED);
    CHECK(stopped.heads == 1);
  }
}

TEST_CASE_FIXTURE(HttpClient, "false from on_head ends a stream without data") {
  Server server(answering(reply_of("body")));
  const std::string url = server.url();
  const HttpResult r = stream(
      to(url), [](std::string_view) { return true; }, nullptr, false);
  CHECK(r.status == TG_OK);
  CHECK(r.heads == 1);
  CHECK(r.body == "");
}

TEST_CASE_FIXTURE(HttpClient,
                  "a stream's limit is its longest silence, not its length nor the callback's time") {
  std::atomic<int> pieces{0};
  Server server([&](Peer& p) {
    p.head();
    p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    pieces.wait(0);
    p.send("1\r\nb\r\n");  // while the callback is busy with a
    p.wait_gone();
  });
  const std::string url = server.url();
  tg_http_call c = to(url);
  c.timeout_ms = 100;
  const HttpResult r = stream(c, [&](std::string_view) {
    ++pieces;
    pieces.notify_all();
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    return true;
  });
  pieces = 9;
  pieces.notify_all();
  CHECK(r.body == "ab");
  CHECK(r.status == TG_E_TIMEOUT);
  CHECK(r.says("silence"));
}

TEST_CASE_FIXTURE(HttpClient, "a bearer token is read anew when its file changes, and shown to nobody else") {
  const testing::PluginDir dir;
  const std::string path = dir.path() + "/token";
  std::string seen;
  Server server([&](Peer& p) { seen = p.head(), p.send(reply_of("")); });
  const std::string url = server.url();
  tg_http_call c = to(url);
  c.bearer_file = to_str(path);
  for (const char* token : {"first", "other"}) {  // same length, maybe the same time
    testing::write_file(path, std::string(token) + "\n");
    REQUIRE(call(c).status == TG_OK);
    CHECK(contains(seen, "\r\nAuthorization: Bearer " + std::string(token) + "\r\n"));
  }
  testing::write_file(path, "se cret\r\nX: y");
  const HttpResult r = call(c);
  CHECK(r.status == TG_E_INVALID);
  CHECK_FALSE(r.says("cret"));
  std::filesystem::remove(path);
  CHECK(call(c).status == TG_E_NOT_FOUND);
}

TEST_CASE_FIXTURE(HttpClient, "a url that is none is refused with what was expected") {
  for (const char* url :
       {"", "host", "ftp://h/", "http://", "http:///x", "http://h:0/", "http://h:99999/", "http://h:x/",
        "http://u:p@h/", "http://h/a b", "http://h/\r\nX: y", "http://h/\x80"}) {
    CAPTURE(url);
    const HttpResult r = get(url);
    CHECK(r.status == TG_E_INVALID);
    CHECK(r.says("expected http"));
    CHECK(r.says("found"));
  }
}

TEST_CASE_FIXTURE(HttpClient, "headers and methods that would break the request are refused") {
  const std::pair<const char*, const char*> bad[] = {
      {"X", "a\r\nY: b"}, {"X", "a\nb"}, {"X\r\nY", "a"},         {"", "a"},          {"X Y", "a"},
      {"X:", "a"},        {"X", "\x01"}, {"content-length", "3"}, {"Connection", "x"}};
  for (const auto& [name, value] : bad) {
    CAPTURE(name);
    const tg_kv header = {tg_cstr(name), tg_cstr(value)};
    tg_http_call c = to("http://127.0.0.1:1/");
    const std::string url = "http://127.0.0.1:1/";
    c.url = to_str(url);
    c.headers = &header;
    c.header_count = 1;
    const HttpResult r = call(c);
    CHECK(r.status == TG_E_INVALID);
    CHECK(r.says("expected"));
  }
  const std::string url = "http://127.0.0.1:1/";
  tg_http_call c = to(url);
  c.method = tg_cstr("GET / HTTP/1.1\r\nX:");
  CHECK(call(c).status == TG_E_INVALID);
}

TEST_CASE_FIXTURE(HttpClient,
                  "a call from inside a call made for a request is refused before anything is sent") {
  const Inside inside(this_thread(), 1, Function::pick);
  const HttpResult r = get("http://127.0.0.1:1/");
  CHECK(r.status == TG_E_INVALID);
  CHECK(r.says("found one from inside pick()"));
}

TEST_CASE_FIXTURE(HttpClient, "a call without size, without callbacks or on the control thread is refused") {
  const std::string url = "http://127.0.0.1:1/";
  tg_http_call c = to(url);
  CHECK(http()->call(host(), &c, nullptr, nullptr, nullptr, nullptr) == TG_E_INVALID);
  c.size = 0;
  CHECK(call(c).status == TG_E_INVALID);
  testing::FakeEnvironment here;
  InstanceHost control(here, {.component = "c", .instance = "i", .config_json = "{}"});
  c.size = sizeof c;
  tg_error error{};
  error.size = sizeof error;
  CHECK(http()->call(
            control.abi(), &c, nullptr, [](void*, const tg_http_reply*) {}, nullptr, &error) == TG_E_INVALID);
  CHECK(contains(error_text(error), "control thread"));
}

TEST_CASE_FIXTURE(HttpClient, "a callback that throws ends the call as an internal error") {
  Server server(answering(reply_of("x")));
  const std::string url = server.url();
  const tg_http_call c = to(url);
  CHECK(http()->call(
            host(), &c, nullptr, [](void*, const tg_http_reply*) { throw 1; }, nullptr, nullptr) ==
        TG_E_INTERNAL);
}

}  // namespace
}  // namespace tidegate::plugin
