#include "http/listener.h"

#include <charconv>
#include <cstring>

#include <cerrno>
#include <string_view>
#include <system_error>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tidegate::http {

namespace {

constexpr std::string_view default_refusal =
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Type: application/json\r\n"
    "Retry-After: 1\r\n"
    "Connection: close\r\n"
    "Content-Length: 135\r\n"
    "\r\n"
    R"({"error":{"message":"The gateway has no descriptor left for another connection; try again.",)"
    R"("type":"server_error","code":"overloaded"}})";
static_assert(default_refusal.size() - default_refusal.find("\r\n\r\n") - 4 == 135,
              "Content-Length is stale");

void make_cloexec_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    throw std::system_error(errno, std::generic_category(), "listener: fcntl");
  }
}

bool is_mapped(const sockaddr_in6& address) noexcept { return IN6_IS_ADDR_V4MAPPED(&address.sin6_addr); }

}  // namespace

void UniqueFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

std::string PeerAddress::host() const {
  char text[46];
  return {text, write_host(text)};
}

// Dotted decimal by hand: inet_ntop goes through printf, which shows at tens of thousands of requests a
// second.
std::size_t PeerAddress::write_host(char (&out)[46]) const noexcept {
  static_assert(sizeof out >= INET6_ADDRSTRLEN);
  if (any.sa_family == AF_INET6 && !is_mapped(v6)) {
    ::inet_ntop(AF_INET6, &v6.sin6_addr, out, sizeof out);
    return std::strlen(out);
  }
  if (any.sa_family != AF_INET && any.sa_family != AF_INET6) {
    std::memcpy(out, "unix", 4);
    return 4;
  }
  std::uint8_t bytes[4];
  std::memcpy(bytes,
              any.sa_family == AF_INET ? static_cast<const void*>(&v4.sin_addr) : &v6.sin6_addr.s6_addr[12],
              4);
  char* at = out;
  for (int i = 0; i < 4; ++i) {
    if (i > 0) *at++ = '.';
    at = std::to_chars(at, at + 3, bytes[i]).ptr;
  }
  return static_cast<std::size_t>(at - out);
}

std::uint16_t PeerAddress::port() const noexcept {
  if (any.sa_family == AF_INET) return ntohs(v4.sin_port);
  return any.sa_family == AF_INET6 ? ntohs(v6.sin6_port) : std::uint16_t{0};
}

bool PeerAddress::loopback() const noexcept {
  if (any.sa_family == AF_INET) return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  if (any.sa_family != AF_INET6) return true;  // a Unix socket never leaves the machine
  return is_mapped(v6) ? v6.sin6_addr.s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
}

Listener::Listener(EventLoop& loop, AcceptHandler& handler, ListenerOptions options)
    : loop_(loop), handler_(handler), options_(std::move(options)) {
  if (options_.refusal.empty()) options_.refusal = default_refusal;
}

Listener::~Listener() { loop_.unwatch(*this); }

void Listener::open(const Poco::Net::SocketAddress& address) {
  socket_.emplace();
  socket_->bind(address, true, options_.shared_port);
  socket_->listen(options_.backlog);
  port_ = socket_->address().port();
  start(socket_->impl()->sockfd(), false);
}

void Listener::adopt(int fd) {
  adopted_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  PeerAddress self;
  socklen_t length = sizeof(sockaddr_in6);
  if (!adopted_ || ::getsockname(adopted_.get(), &self.any, &length) != 0) {
    throw std::system_error(errno, std::generic_category(), "listener: inherited descriptor is no socket");
  }
  port_ = self.port();
  start(adopted_.get(), true);
}

void Listener::start(int fd, bool exclusive) {
  make_cloexec_nonblocking(fd);
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  listening_ = fd;
  exclusive_ = exclusive;
  if (!watch_again()) throw std::system_error(errno, std::generic_category(), "listener: epoll_ctl");
}

bool Listener::watch_again() noexcept {
  return loop_.watch(*this, listening_, EPOLLIN, exclusive_ ? std::uint32_t{EPOLLEXCLUSIVE} : 0);
}

void Listener::close() noexcept {
  if (!is_open()) return;
  pause_.disarm();
  loop_.unwatch(*this);
  // Whoever is queued here has been told by the kernel that it is connected. The bound is for a flood.
  for (int left = 2 * options_.backlog; left > 0; --left) {
    const Accepted accepted = accept_one();
    if (accepted == Accepted::none) break;
    if (accepted == Accepted::exhausted && !refuse_one()) break;
  }
  listening_ = -1;
  socket_.reset();
  adopted_.reset();
  spare_.reset();
}

void Listener::on_ready(std::uint32_t) noexcept {
  bool exhausted = false;
  for (unsigned left = options_.accepts_a_wake; left > 0; --left) {
    const Accepted accepted = accept_one();  // asked anew each time: there may be descriptors again
    if (accepted == Accepted::none) break;
    if (accepted == Accepted::one) continue;
    exhausted = true;
    if (!refuse_one()) break;
  }
  if (!exhausted) return;
  // A helping was refused, now accepting rests; the queue stays readable, so going on listening would spin.
  loop_.unwatch(*this);
  loop_.arm(pause_, options_.pause_ms);
}

void Listener::on_resume() noexcept {
  if (!spare_) spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!watch_again()) loop_.arm(pause_, options_.pause_ms);
}

Listener::Accepted Listener::accept_one() noexcept {
  for (;;) {
    PeerAddress peer;
    socklen_t length = sizeof(sockaddr_in6);
    UniqueFd fd(::accept4(listening_, &peer.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      const int on = 1;
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ++accepted_;
      handler_.on_accept(std::move(fd), peer);
      return Accepted::one;
    }
    switch (errno) {
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM: return Accepted::exhausted;
      case EINTR:
      case ECONNABORTED:
      case EPROTO:
      case EPERM: continue;  // one connection that broke before it was taken; the next
      default: return Accepted::none;
    }
  }
}

// False when nobody was there to be refused, or when even the spare descriptor didn't help.
bool Listener::refuse_one() noexcept {
  spare_.reset();
  UniqueFd fd(::accept4(listening_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd) {
    ++refused_;
    (void)::send(fd.get(), options_.refusal.data(), options_.refusal.size(), MSG_NOSIGNAL);
    ::shutdown(fd.get(), SHUT_WR);
    // A request that lies unread at close() would turn the answer into a reset.
    const std::span<char> scratch = loop_.scratch();
    for (int i = 0; i < 4 && ::recv(fd.get(), scratch.data(), scratch.size(), 0) > 0; ++i) {
    }
  }
  const bool refused = static_cast<bool>(fd);
  fd.reset();
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return refused;
}

}  // namespace tidegate::http
