// Upstream connections against a worker's end of a loopback connection, held by the test.
#include "http/upstream.h"

#include <doctest/doctest.h>

#include <string>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "http/event_loop.h"
#include "http/listener.h"

namespace tidegate::http {
namespace {

// Pauses at the first byte of the body.
struct PausingClient final : UpstreamClient {
  UpstreamCall* call = nullptr;
  bool sent = false, ended = false, faulted = false, paused = false;
  std::string body;
  void on_request_sent() noexcept override { sent = true; }
  void on_response_head(const ResponseHead&, BodyKind) noexcept override {}
  void on_response_body(const BodyPart& part) noexcept override {
    for (std::size_t i = 0; i < part.count; ++i)
      body.append(static_cast<const char*>(part.pieces[i].iov_base), part.pieces[i].iov_len);
    if (part.last || paused) return;
    paused = true;
    call->pause();
  }
  void on_response_end() noexcept override { ended = true; }
  void on_fault(UpstreamFault, std::string_view) noexcept override { faulted = true; }
};

struct Worker {
  UniqueFd listening, peer;
  Poco::Net::SocketAddress address;
  std::size_t received = 0;
  Worker() {
    listening.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof any;
    ::bind(listening.get(), reinterpret_cast<sockaddr*>(&any), length);
    ::listen(listening.get(), 4);
    ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&any), &length);
    address = Poco::Net::SocketAddress("127.0.0.1", ntohs(any.sin_port));
  }
  bool accept() {
    if (!peer) peer.reset(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    return static_cast<bool>(peer);
  }
  void send(std::string_view bytes) {
    REQUIRE(::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  void receive() {
    static char buffer[1 << 16];
    for (ssize_t n; (n = ::recv(peer.get(), buffer, sizeof buffer, 0)) > 0;)
      received += static_cast<std::size_t>(n);
  }
};

template <class Condition>
bool until(EventLoop& loop, Condition condition) {
  for (int i = 0; i < 3000 && !condition(); ++i) loop.run_once(2);
  return condition();
}

// A worker that answers before it has read the request, and a client that is slower than its answer: only
// reading stops.
TEST_CASE("a paused call goes on sending its request") {
  EventLoop loop;
  UpstreamPool pool(loop, {});
  Worker worker;
  PausingClient client;
  std::string body(16u << 20, 'b');  // more than the kernel takes
  const iovec piece{body.data(), body.size()};
  const std::string head =
      "POST / HTTP/1.1\r\nHost: w\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  client.call = pool.start(0, 1, worker.address, {.head = head, .body = &piece, .body_count = 1}, client);
  REQUIRE(until(loop, [&] { return worker.accept(); }));
  worker.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
  REQUIRE(until(loop, [&] { return client.paused; }));
  REQUIRE_FALSE(client.sent);

  CHECK(until(loop, [&] {
    worker.receive();
    return client.sent;
  }));
  worker.receive();
  CHECK(worker.received == head.size() + body.size());
  CHECK(client.body == "a");  // paused all the while
  worker.send("b");
  for (int i = 0; i < 5; ++i) loop.run_once(1);
  CHECK(client.body == "a");
  client.call->resume();
  CHECK(until(loop, [&] { return client.ended; }));
  CHECK(client.body == "ab");
}

}  // namespace
}  // namespace tidegate::http
