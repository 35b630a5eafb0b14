// What: one listening socket on one loop: accepts in bounded helpings, refuses politely when the process is
//   out of descriptors, and hands over everything already queued before it closes.
// Threads: its loop's thread; set-up calls before the loop runs may come from the thread that sets it up.
// Ownership: owns the listening socket (not an adopted descriptor's file: other loops share it, each through
//   a duplicate). Accepted descriptors pass to the handler; they are non-blocking, CLOEXEC, TCP_NODELAY.
// Errors: open() and adopt() throw (Poco::Net::NetException, std::system_error) with the address.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <netinet/in.h>

#include <Poco/Net/ServerSocket.h>

#include "http/event_loop.h"

namespace tidegate::http {

class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

// The other end's address in 28 bytes. A socket that has none (a pair of Unix sockets) is "unix", port 0.
struct PeerAddress {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  PeerAddress() noexcept : v6{} {}
  std::string host() const;  // "192.0.2.1", "2001:db8::1"; IPv4 mapped into IPv6 reads as IPv4
  std::size_t write_host(
      char (&out)[46]) const noexcept;  // the same without an allocation; returns its length
  std::uint16_t port() const noexcept;
  bool loopback() const noexcept;
};

class AcceptHandler {
 public:
  virtual void on_accept(UniqueFd fd, const PeerAddress& peer) noexcept = 0;

 protected:
  ~AcceptHandler() = default;
};

struct ListenerOptions {
  int backlog = 4096;
  unsigned accepts_a_wake = 64;
  std::uint64_t pause_ms = 100;  // how long accepting rests after the descriptors ran out
  // Loops of one process listen on the same address, each with a socket of its own. Not for others: a second
  // process of the same user would share the port without a word.
  bool shared_port = false;
  std::string refusal;  // complete HTTP response written then; empty: a plain 503 with Retry-After: 1
};

class Listener final : private Watched {
 public:
  Listener(EventLoop& loop, AcceptHandler& handler, ListenerOptions options = {});
  ~Listener();

  // Port 0 lets the kernel choose, see port().
  void open(const Poco::Net::SocketAddress& address);
  // Takes part in an inherited listening socket (EPOLLEXCLUSIVE); `fd` is duplicated.
  void adopt(int fd);

  // Accepts until the queue is empty, hands all of it over, and closes. No effect when not open.
  void close() noexcept;

  std::uint16_t port() const noexcept { return port_; }
  bool is_open() const noexcept { return listening_ >= 0; }
  bool paused() const noexcept { return pause_.armed(); }
  std::uint64_t accepted() const noexcept { return accepted_; }
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  enum class Accepted : std::uint8_t { one, none, exhausted };
  void on_ready(std::uint32_t epoll_events) noexcept override;
  void on_resume() noexcept;
  void start(int fd, bool exclusive);
  Accepted accept_one() noexcept;
  bool refuse_one() noexcept;
  bool watch_again() noexcept;

  EventLoop& loop_;
  AcceptHandler& handler_;
  ListenerOptions options_;
  std::optional<Poco::Net::ServerSocket> socket_;  // of open()
  UniqueFd adopted_;                               // of adopt()
  UniqueFd spare_;                                 // given up for a moment to accept and refuse
  int listening_ = -1;
  bool exclusive_ = false;
  std::uint16_t port_ = 0;
  std::uint64_t accepted_ = 0, refused_ = 0;
  Timer pause_{Timer::of<&Listener::on_resume>, this};
};

}  // namespace tidegate::http
