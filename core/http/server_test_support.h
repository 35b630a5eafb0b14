// What: for tests only: a service made of lambdas, loopback connections, and stepping of the loop.
// Longer than 150 lines: one set-up that all of a folder's tests share.
// Threads: one; loop and clients are stepped by the test.
// Ownership: the harness owns everything but the clients.
// Errors: what never comes makes until() return false after a generous time.
#pragma once

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "http/server.h"

namespace tidegate::http::testing {

// A client's end of a TCP connection over the loopback device.
struct Client {
  UniqueFd fd;
  std::string in;      // everything received
  bool eof = false;    // FIN seen
  bool reset = false;  // RST seen

  // Sends all that the kernel takes now and says how much that was.
  std::size_t send(std::string_view bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const auto n = ::send(fd.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<std::size_t>(n);
    }
    return sent;
  }
  void poll(std::size_t most = ~std::size_t{0}) {
    char buffer[16384];
    while (!eof && !reset && most > 0) {
      const auto n = ::recv(fd.get(), buffer, std::min(most, sizeof buffer), 0);
      if (n > 0) {
        in.append(buffer, static_cast<std::size_t>(n));
        most -= static_cast<std::size_t>(n);
      } else if (n == 0) {
        eof = true;
      } else {
        reset = errno != EAGAIN;
        return;
      }
    }
  }
  bool closed() {
    poll();
    return eof || reset;
  }
  bool got(std::string_view text) {
    poll();
    return in.find(text) != std::string::npos;
  }
  std::size_t count(std::string_view text) {
    poll();
    std::size_t found = 0;
    for (std::size_t at = in.find(text); at != std::string::npos; at = in.find(text, at + 1)) ++found;
    return found;
  }
  void half_close() { ::shutdown(fd.get(), SHUT_WR); }
  void rst() {
    const linger now{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd.reset();
  }
};

class LambdaService : public Service {
 public:
  std::function<void(ServerConnection&)> on_head, on_request, on_writable;
  std::vector<std::string> requests;  // "METHOD target body", when complete
  std::vector<int> errors;            // answered by the server itself
  ServerConnection* current = nullptr;
  int begun = 0, gone = 0, writable = 0, destroyed = 0;

  std::unique_ptr<Responder> begin(ServerConnection& connection) noexcept override {
    ++begun;
    current = &connection;
    return std::make_unique<Exchange>(*this, connection);
  }
  void on_protocol_error(int status, std::string_view, const PeerAddress&) noexcept override {
    errors.push_back(status);
  }

 private:
  struct Exchange : Responder {
    Exchange(LambdaService& service, ServerConnection& connection)
        : service(service), connection(connection) {}
    ~Exchange() override { ++service.destroyed; }
    void on_head() noexcept override {
      if (service.on_head) service.on_head(connection);
    }
    void on_request() noexcept override {
      const auto& head = connection.head();
      service.requests.push_back(std::string(head.method) + " " + std::string(head.target) + " " +
                                 std::string(connection.body().view()));
      if (service.on_request) service.on_request(connection);
    }
    void on_writable() noexcept override {
      ++service.writable;
      if (service.on_writable) service.on_writable(connection);
    }
    void on_client_gone() noexcept override { ++service.gone; }
    LambdaService& service;
    ServerConnection& connection;
  };
};

class Harness {
 public:
  explicit Harness(ServerLimits limits = {}, std::uint64_t budget_bytes = 1 << 30)
      : budget(budget_bytes), set(loop, service, budget, limits) {
    listening.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    ::listen(listening.get(), 16);
  }

  // `small` gives both ends little kernel buffer, so that output blocks soon.
  Client connect(bool small = false) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &length);
    Client client;
    client.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int size = 4096;
    if (small) ::setsockopt(client.fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    REQUIRE(::connect(client.fd.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    PeerAddress peer;
    length = sizeof(sockaddr_in6);
    UniqueFd accepted(::accept4(listening.get(), &peer.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (small) ::setsockopt(accepted.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    set.on_accept(std::move(accepted), peer);
    ::fcntl(client.fd.get(), F_SETFL, O_NONBLOCK);
    return client;
  }

  template <class Condition>
  bool until(Condition condition) {
    const std::uint64_t give_up = loop.now_ms() + 20'000;
    while (!condition()) {
      if (loop.now_ms() > give_up) return false;
      loop.run_once(2);
    }
    return true;
  }
  void step(int times = 3) {
    for (int i = 0; i < times; ++i) loop.run_once(1);
  }

  LambdaService service;
  BodyBudget budget;
  ConnectionCap cap;
  EventLoop loop;
  ConnectionSet set;

 private:
  UniqueFd listening;
};

inline std::string get(std::string_view target, std::string_view extra = {}) {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: t\r\n" + std::string(extra) + "\r\n";
}
inline std::string post(std::string_view body, std::string_view extra = {}) {
  return "POST /p HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(extra) + "\r\n" + std::string(body);
}

}  // namespace tidegate::http::testing
