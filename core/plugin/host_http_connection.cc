#include "plugin/host_http_connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <Poco/Net/SocketAddress.h>

#include "plugin/host_http_request.h"

namespace tidegate::plugin {
namespace {

using std::chrono::milliseconds;
using Clock = Patience::Clock;
using Address = Poco::Net::SocketAddress;

constexpr milliseconds longest_slice{100};

// Shared by the caller and the thread that looks up: whoever is later frees it.
struct Lookup {
  std::mutex mutex;
  std::condition_variable wake;
  bool done = false;
  int error = 0;
  std::vector<Address> found;
};

void look_up(const std::shared_ptr<Lookup>& lookup, const std::string& host, std::uint16_t port) noexcept {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  const std::scoped_lock lock(lookup->mutex);
  lookup->error = error;
  for (const addrinfo* at = list; at; at = at->ai_next)
    lookup->found.emplace_back(at->ai_addr, at->ai_addrlen);
  if (list) ::freeaddrinfo(list);
  lookup->done = true;
  lookup->wake.notify_all();
}

std::vector<Address> addresses_of(const std::string& host, std::uint16_t port, const std::string& origin,
                                  const Patience& patience) {
  Poco::Net::IPAddress literal;
  if (Poco::Net::IPAddress::tryParse(host, literal)) return {Address(literal, port)};
  auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, host, port] { look_up(lookup, host, port); }).detach();
  std::unique_lock lock(lookup->mutex);
  while (!lookup->wake.wait_for(lock, patience.slice(), [&] { return lookup->done; }))
    patience.check("looking up the name of " + origin);
  if (lookup->error != 0 || lookup->found.empty())
    throw HttpFailure(TG_E_UNAVAILABLE,
                      "look up " + origin + ": expected an address of '" + host + "', found: " +
                          (lookup->error == EAI_SYSTEM ? "a failure of the system's resolver"
                                                       : ::gai_strerror(lookup->error)) +
                          "; check the name and the resolver");
  return lookup->found;
}

// Gives a connected descriptor, or -1 and a reason; `until` is when the next address has its turn.
int connect_one(const Address& address, Patience& patience, Clock::time_point until, std::string& reason) {
  const int fd = ::socket(address.af(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const auto fail = [&](int code) {
    reason = code == ETIMEDOUT ? "no answer in time" : std::strerror(code);
    if (fd >= 0) ::close(fd);
    return -1;
  };
  if (fd < 0) return fail(errno);
  try {
    if (::connect(fd, address.addr(), address.length()) != 0) {
      if (errno != EINPROGRESS && errno != EINTR) return fail(errno);
      if (!patience.wait(fd, POLLOUT, "connecting to " + address.toString(), until)) return fail(ETIMEDOUT);
      int code = 0;
      socklen_t size = sizeof code;
      if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
      if (code != 0) return fail(code);
    }
  } catch (...) {
    ::close(fd);
    throw;
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace

milliseconds Patience::slice() const {
  const auto left = std::chrono::ceil<milliseconds>(end_ - Clock::now());
  return std::clamp(left, milliseconds(0), longest_slice);
}

void Patience::check(std::string_view doing) const {
  if (stop_ && stop_->requested(stop_))
    throw HttpFailure(TG_E_CANCELLED, "stopped while " + std::string(doing));
  if (Clock::now() < end_) return;
  throw HttpFailure(TG_E_TIMEOUT,
                    std::string(doing) + ": expected " +
                        (limit_ == Limit::whole ? "the whole reply within " : "no silence longer than ") +
                        std::to_string(length_.count()) +
                        " ms, found none in time; check the server or raise "
                        "timeout_ms");
}

bool Patience::wait(int fd, short events, std::string_view doing, Clock::time_point until) {
  for (;;) {
    check(doing);
    const auto now = Clock::now();
    if (now >= until) return false;
    const auto sleep = std::min(slice(), std::chrono::ceil<milliseconds>(std::min(until, end_) - now));
    pollfd entry{fd, events, 0};
    const int n = ::poll(&entry, 1, static_cast<int>(sleep.count()));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR)
      throw HttpFailure(TG_E_INTERNAL, std::string("poll failed: ") + std::strerror(errno));
  }
}

PlainConnection::PlainConnection(const std::string& host, std::uint16_t port, const std::string& origin,
                                 Patience& patience)
    : origin_(origin), patience_(patience) {
  patience.check("starting to connect to " + origin);
  const std::vector<Address> addresses = addresses_of(host, port, origin, patience);
  std::string tried;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    // A dead address must not use up the time of those behind it.
    const auto now = Clock::now();
    const auto left = patience.end() - now;
    const auto until = i + 1 < addresses.size() ? now + left / static_cast<int>(addresses.size() - i)
                                                : Clock::time_point::max();
    std::string reason;
    fd_ = connect_one(addresses[i], patience, until, reason);
    if (fd_ >= 0) break;
    tried += (tried.empty() ? "" : ", ") + addresses[i].toString() + ": " + reason;
  }
  patience.progress();
  if (fd_ >= 0) return;
  throw HttpFailure(TG_E_UNAVAILABLE, "connect to " + origin + ": expected a listening server, found " +
                                          tried + "; check that it runs and that host and port are right");
}

PlainConnection::~PlainConnection() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

std::size_t PlainConnection::receive(char* to, std::size_t size) {
  const std::string_view doing = "waiting for the server's bytes";
  patience_.check(doing);  // a server that always has bytes ready must not keep us from stopping
  for (;;) {
    const ssize_t n = ::recv(fd_, to, size, 0);
    if (n > 0) patience_.progress();
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EAGAIN)
      patience_.wait(fd_, POLLIN, doing);
    else if (errno != EINTR)
      throw HttpFailure(TG_E_UNAVAILABLE, "receive from " + origin_ +
                                              ": expected the reply's bytes, found: " + std::strerror(errno) +
                                              "; try again");
  }
}

void PlainConnection::send(std::string_view bytes) {
  while (!bytes.empty() && peer_reads_) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      patience_.progress();
    } else if (n < 0 && errno == EAGAIN) {
      patience_.wait(fd_, POLLOUT, "sending the request");
    } else if (n < 0 && errno != EINTR) {
      peer_reads_ = false;
    }
  }
}

void PlainConnection::send_last(std::string_view bytes) noexcept {
  if (peer_reads_ && !bytes.empty()) {
    [[maybe_unused]] const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

}  // namespace tidegate::plugin
