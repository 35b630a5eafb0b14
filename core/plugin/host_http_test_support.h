// What: servers of one script each on 127.0.0.1 or [::1], plain or TLS, with certificates made by the openssl
//   tool; a host's HTTP client; stop tokens that fire at a given ask.
// Longer than 150 lines: one set-up that all of a folder's tests share.
// Threads: a server's script runs on a thread of its own, one connection at a time.
// Ownership: values. A server's destructor ends its listener, its open connection and its thread.
// Errors: a script's failures end its connection; the test sees them on the client's side.
#pragma once

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "plugin/host.h"
#include "plugin/test_support.h"

namespace tidegate::plugin::testing {

// The server's end of one connection.
class Peer {
 public:
  Peer(int fd, SSL_CTX* context) : fd_(fd), ssl_(context ? SSL_new(context) : nullptr) {
    if (ssl_) SSL_set_fd(ssl_, fd);
    good_ = !ssl_ || SSL_accept(ssl_) == 1;
  }
  ~Peer() {
    if (ssl_) {
      if (good_ && polite_) SSL_shutdown(ssl_);
      SSL_free(ssl_);
    }
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  bool good() const { return good_; }
  void cut() { polite_ = false; }  // no close_notify
  std::string server_name() const {
    const char* name = ssl_ ? SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name) : nullptr;
    return name ? name : "";
  }
  bool send(std::string_view text) {
    while (!text.empty()) {
      const auto n = ssl_ ? SSL_write(ssl_, text.data(), static_cast<int>(text.size()))
                          : ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Until the text ends with `end` or the client has gone.
  std::string receive_until(std::string_view end) {
    std::string all;
    char c = 0;
    while (!all.ends_with(end) && (ssl_ ? SSL_read(ssl_, &c, 1) : ::recv(fd_, &c, 1, 0)) == 1)
      all.push_back(c);
    return all;
  }
  std::string head() { return receive_until("\r\n\r\n"); }
  void wait_gone() {
    char bytes[256];
    while ((ssl_ ? SSL_read(ssl_, bytes, sizeof bytes) : ::recv(fd_, bytes, sizeof bytes, 0)) > 0) {
    }
  }

 private:
  int fd_;
  SSL* ssl_;
  bool good_ = false, polite_ = true;
};

class Server {
 public:
  using Script = std::function<void(Peer&)>;
  explicit Server(Script script, SSL_CTX* context = nullptr, int family = AF_INET)
      : script_(std::move(script)), context_(context), family_(family) {
    listener_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in6 six{};
    sockaddr_in four{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool v6 = family == AF_INET6;
    auto* at = v6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
    socklen_t size = v6 ? sizeof six : sizeof four;
    ready_ = ::bind(listener_, at, size) == 0 && ::listen(listener_, 8) == 0;
    ::getsockname(listener_, at, &size);
    port_ = ntohs(v6 ? six.sin6_port : four.sin_port);
    if (ready_) thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    over_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    if (const int fd = open_.load(); fd >= 0) ::shutdown(fd, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    ::close(listener_);
  }
  bool ready() const { return ready_; }
  int port() const { return port_; }
  std::string url(const std::string& path = "/") const {
    return (context_ ? "https://" : "http://") + std::string(family_ == AF_INET6 ? "[::1]:" : "127.0.0.1:") +
           std::to_string(port_) + path;
  }

 private:
  void serve() {
    while (!over_) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      open_ = fd;
      if (over_) ::shutdown(fd, SHUT_RDWR);
      {
        Peer peer(fd, context_);
        if (peer.good()) script_(peer);
      }
      open_ = -1;
      ::close(fd);
    }
  }
  Script script_;
  SSL_CTX* context_;
  int family_, listener_ = -1, port_ = 0;
  bool ready_ = false;
  std::atomic<bool> over_{false};
  std::atomic<int> open_{-1};
  std::thread thread_;
};

// Says stop from the nth ask on: so a test needs no second thread and no clock.
struct StopAtAsk : tg_stop {
  explicit StopAtAsk(int n) : tg_stop{}, left(n) {
    size = sizeof(tg_stop);
    requested = [](const tg_stop* s) { return --static_cast<const StopAtAsk*>(s)->left <= 0; };
    wait_ms = [](const tg_stop* s, std::uint32_t) { return s->requested(s); };
  }
  mutable int left;
};

struct HttpResult {
  tg_status status = TG_OK;
  std::string text;  // of the error
  std::uint32_t code = 0;
  std::string body;
  int heads = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return "";
  }
  bool says(std::string_view part) const { return text.find(part) != text.npos; }
};

class HttpClient {
 public:
  HttpClient() {
    // Made by another thread, so that this one is not the control thread.
    std::thread([this] { environment_ = std::make_unique<FakeEnvironment>(); }).join();
    host_ = std::make_unique<InstanceHost>(
        *environment_, InstanceHost::Parts{.component = "source", .instance = "s1", .config_json = "{}"});
    http_ = static_cast<const tg_host_http*>(host_->abi()->get_interface(host_->abi(), TG_HOST_HTTP));
  }
  const tg_host* host() const { return host_->abi(); }
  const tg_host_http* http() const { return http_; }
  static tg_http_call to(const std::string& url) {
    tg_http_call c{};
    c.size = sizeof c;
    c.url = to_str(url);
    c.timeout_ms = 30'000;
    return c;
  }
  HttpResult call(const tg_http_call& c, const tg_stop* stop = nullptr) const {
    HttpResult r;
    tg_error error{};
    error.size = sizeof error;
    r.status = http_->call(
        host(), &c, stop,
        [](void* self, const tg_http_reply* reply) { take(*static_cast<HttpResult*>(self), *reply); }, &r,
        &error);
    r.text = error_text(error);
    return r;
  }
  HttpResult get(const std::string& url) const { return call(to(url)); }

  // on_data(piece) false: enough.
  using OnData = std::function<bool(std::string_view)>;
  HttpResult stream(const tg_http_call& c, const OnData& on_data, const tg_stop* stop = nullptr,
                    bool want_data = true) const {
    struct State {
      HttpResult result;
      const OnData& on_data;
      bool want_data;
    } s{{}, on_data, want_data};
    tg_error error{};
    error.size = sizeof error;
    const tg_status status = http_->stream(
        host(), &c, stop,
        [](void* self, const tg_http_reply* reply) {
          take(static_cast<State*>(self)->result, *reply);
          return static_cast<State*>(self)->want_data;
        },
        [](void* self, tg_str bytes) {
          static_cast<State*>(self)->result.body += view(bytes);
          return static_cast<State*>(self)->on_data(view(bytes));
        },
        &s, &error);
    s.result.status = status;
    s.result.text = error_text(error);
    return s.result;
  }

 private:
  static void take(HttpResult& r, const tg_http_reply& reply) {
    ++r.heads;
    r.code = reply.status;
    r.body = view(reply.body);
    for (std::uint32_t i = 0; i < reply.header_count; ++i)
      r.headers.emplace_back(view(reply.headers[i].key), view(reply.headers[i].value));
  }
  std::unique_ptr<FakeEnvironment> environment_;
  std::unique_ptr<InstanceHost> host_;
  const tg_host_http* http_ = nullptr;
};

inline void write_file(const std::string& path, std::string_view text) {
  std::ofstream(path + ".part") << text;
  std::filesystem::rename(path + ".part", path);
}
inline std::string file_text(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string reply_of(std::string_view body, const std::string& headers = "") {
  return "HTTP/1.1 200 OK\r\n" + headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

}  // namespace tidegate::plugin::testing
