#include "wire.h"

#include <algorithm>
#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace tidegate::fuzz {

Socket::Socket(http::UniqueFd fd) noexcept : fd_(std::move(fd)) {
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

std::size_t Socket::send(std::string_view bytes) noexcept {
  if (!fd_ || bytes.empty()) return 0;
  const auto n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  // What came before the other end closed is still there to be read.
  if (n < 0 && errno != EAGAIN && errno != EPIPE) broken = true;
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

bool Socket::receive(std::size_t most) noexcept {
  char buffer[16384];
  bool fresh = false;
  while (open() && !eof && !broken && most > 0) {
    const auto n = ::recv(fd_.get(), buffer, std::min(most, sizeof buffer), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return fresh;
    fresh = true;
    if (n < 0) broken = true;
    if (n == 0) eof = true;
    if (n <= 0) return true;
    in.append(buffer, static_cast<std::size_t>(n));
    most -= static_cast<std::size_t>(n);
  }
  return fresh;
}

void Socket::fin() noexcept {
  if (fd_) ::shutdown(fd_.get(), SHUT_WR);
}
void Socket::close_gently() noexcept { fd_.reset(); }
void Socket::reset() noexcept {
  if (!fd_) return;
  const linger now{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  fd_.reset();
}

}  // namespace tidegate::fuzz
