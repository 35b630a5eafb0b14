// What: for tests only: a worker's end of loopback connections, and a client that notes what it hears.
// Threads: one; the loop is stepped by the test.
// Ownership: the test owns everything.
// Errors: what never comes makes until() return false after a generous number of steps.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "http/event_loop.h"
#include "http/listener.h"
#include "http/upstream.h"

namespace tidegate::http::testing {

struct NotingClient final : UpstreamClient {
  UpstreamCall* call = nullptr;
  std::function<void()> on_body;  // called for each piece
  bool sent = false, ended = false;
  std::vector<int> heads;
  std::string body, trailers, detail;
  std::optional<UpstreamFault> fault;

  void on_request_sent() noexcept override { sent = true; }
  void on_response_head(const ResponseHead& head, BodyKind) noexcept override {
    heads.push_back(head.status);
  }
  void on_response_body(const BodyPart& part) noexcept override {
    for (std::size_t i = 0; i < part.count; ++i)
      body.append(static_cast<const char*>(part.pieces[i].iov_base), part.pieces[i].iov_len);
    if (part.last) trailers = part.trailer_section;
    if (on_body && !part.last) on_body();
  }
  void on_response_end() noexcept override { ended = true; }
  void on_fault(UpstreamFault what, std::string_view why) noexcept override {
    fault = what;
    detail = why;
  }
  bool done() const { return ended || fault.has_value(); }
};

// One end of a connection, held by the test.
struct Peer {
  UniqueFd fd;
  std::string in;
  bool eof = false;

  void send(std::string_view bytes) const {
    (void)!::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void receive() {
    static char buffer[1 << 16];
    ssize_t n;
    while ((n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
      in.append(buffer, static_cast<std::size_t>(n));
    if (n == 0) eof = true;
  }
  bool got(std::string_view text) {
    receive();
    return in.find(text) != std::string::npos;
  }
  bool gone() {
    receive();
    return eof;
  }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd.reset();
  }
};

class Worker {
 public:
  explicit Worker(int backlog = 16) {
    listening_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof any;
    REQUIRE(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&any), length) == 0);
    ::listen(listening_.get(), backlog);
    ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&any), &length);
    address = Poco::Net::SocketAddress("127.0.0.1", ntohs(any.sin_port));
  }
  // Takes the next connection that waits, if any; a peer that has one keeps it.
  bool accept(Peer& peer) {
    if (!peer.fd) peer.fd.reset(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    return static_cast<bool>(peer.fd);
  }
  bool nobody_waits() { return !accept(*std::make_unique<Peer>()); }
  Poco::Net::SocketAddress address;

 private:
  UniqueFd listening_;
};

// A loop, a pool and a worker.
struct UpstreamHarness {
  explicit UpstreamHarness(UpstreamLimits limits = {}) : pool(loop, limits) {}

  template <class Condition>
  bool until(Condition condition) {
    for (int i = 0; i < 3000 && !condition(); ++i) loop.run_once(2);
    return condition();
  }
  void step(int times = 3) {
    for (int i = 0; i < times; ++i) loop.run_once(1);
  }
  void start(NotingClient& client, UpstreamTimeouts timeouts = {}, std::uint32_t generation = 1,
             std::uint32_t key = 0) {
    client.call =
        pool.start(key, generation, worker.address, {.head = request, .timeouts = timeouts}, client);
  }
  // The request of `client` on a new connection, read by the worker.
  Peer accept() {
    Peer peer;
    if (!until([&] { return worker.accept(peer); })) return peer;
    until([&] { return peer.got("\r\n\r\n"); });
    return peer;
  }
  // A connection that has served once and is kept.
  Peer kept(std::uint32_t generation = 1, std::uint32_t key = 0) {
    NotingClient client;
    start(client, {}, generation, key);
    Peer peer = accept();
    peer.in.clear();
    peer.send(empty_answer);
    until([&] { return client.done(); });
    return peer;
  }

  static constexpr std::string_view request = "POST /p HTTP/1.1\r\nHost: w\r\nContent-Length: 0\r\n\r\n";
  static constexpr std::string_view empty_answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  EventLoop loop;
  Worker worker;
  UpstreamPool pool;
  std::uint64_t trickled_ms = 0;
};

}  // namespace tidegate::http::testing
