// What: sockets, time and readiness for the benchmark's tools: the few calls that all three share.
// Threads: a Poller belongs to one thread; the free functions are safe from any.
// Ownership: Fd owns its descriptor; a Poller never owns the descriptors it watches.
// Errors: set-up throws std::system_error with the call and the address; the calls of the hot path do not
// throw.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

namespace tidegate::bench {

inline constexpr std::uint64_t kForever = std::numeric_limits<std::uint64_t>::max();
inline constexpr std::uint64_t kSecond = 1'000'000'000;
inline constexpr std::uint64_t kMillisecond = 1'000'000;

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

// "127.0.0.1:8080"; only IPv4 literals, the benchmark never leaves the loopback interface.
struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
};
Endpoint parse_endpoint(const std::string& text);

std::uint64_t now_ns() noexcept;  // CLOCK_MONOTONIC: one clock for every process on the machine

void raise_descriptor_limit() noexcept;  // soft limit to the hard one
void ignore_sigpipe() noexcept;

// A non-blocking listener with SO_REUSEPORT, so that each thread has its own.
Fd listen_on(const Endpoint& where);
// A non-blocking connect in progress, TCP_NODELAY set. Empty at descriptor or port exhaustion.
Fd connect_to(const Endpoint& where) noexcept;
// A non-blocking accepted socket, TCP_NODELAY set; empty when there is none.
Fd accept_from(const Fd& listener) noexcept;

class Poller {
 public:
  Poller();
  void add(int fd, std::uint32_t events, void* tag) noexcept;
  void change(int fd, std::uint32_t events, void* tag) noexcept;
  // Waits until something is ready or the clock reaches `until` (to the nanosecond, not the millisecond).
  std::span<epoll_event> wait(std::uint64_t until) noexcept;

 private:
  Fd epoll_;
  std::array<epoll_event, 256> events_{};
};

}  // namespace tidegate::bench
