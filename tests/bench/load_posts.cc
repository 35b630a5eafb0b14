// Requests in a closed loop (each connection sends its next request when it has its answer) or an open loop
// (arrivals at fixed times, whatever the answers do). An open loop's latency counts from the time a request
// was meant to start, so that a slow proxy cannot hide its queue by slowing the load down.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>

#include "http_response.h"
#include "load.h"
#include "wire.h"

namespace tidegate::bench {
namespace {

struct Connection {
  Fd fd;
  std::size_t sent = 0;
  std::uint64_t started = 0;  // of the request under way; 0 when idle
  std::uint32_t watched = EPOLLIN;
  ResponseReader response;
};

class PostLoad {
 public:
  explicit PostLoad(const LoadOptions& options) : options_(options), request_(make_request(options, {})) {
    connections_.reserve(options.connections);
  }

  LoadReport run() {
    report_.idle = sample_processes(options_.watched);
    const std::uint64_t start = now_ns();
    begin_ = start + seconds(options_.warmup_s);
    end_ = begin_ + seconds(options_.window_s);
    const std::uint64_t deadline = end_ + seconds(options_.delay_ms / 1000) + 10 * kSecond;
    next_arrival_ = start;
    if (!open_loop()) {
      while (connections_.size() < options_.connections && report_.errors == 0)
        begin_request(open(), now_ns());
    }
    while (now_ns() < deadline && (now_ns() < end_ || busy_ > 0 || !waiting_.empty())) {
      const std::uint64_t edge = report_.begin.at_ns == 0 ? begin_ : report_.end.at_ns == 0 ? end_ : deadline;
      const std::uint64_t until = open_loop() && next_arrival_ < end_ ? std::min(edge, next_arrival_) : edge;
      for (const epoll_event& event : poller_.wait(until)) {
        serve(*static_cast<Connection*>(event.data.ptr), event.events);
      }
      pass_edges();
      if (open_loop()) arrive();
      if (report_.errors > 1000) break;  // this round is void anyhow
    }
    pass_edges();
    if (busy_ + waiting_.size() > 0) report_.fail("no answer before the deadline", busy_ + waiting_.size());
    return report_;
  }

 private:
  static std::uint64_t seconds(double value) { return static_cast<std::uint64_t>(value * kSecond); }
  bool open_loop() const { return options_.rate > 0; }

  void pass_edges() {
    const std::uint64_t now = now_ns();
    if (report_.begin.at_ns == 0 && now >= begin_) report_.begin = sample_processes(options_.watched);
    if (report_.end.at_ns == 0 && now >= end_) report_.end = sample_processes(options_.watched);
  }

  Connection* open() {
    Fd fd = connect_to(options_.target);
    if (!fd) {
      report_.fail(std::string("connect: ") + std::strerror(errno));
      return nullptr;
    }
    Connection* connection = connections_.emplace_back(std::make_unique<Connection>()).get();
    connection->fd = std::move(fd);
    poller_.add(connection->fd.get(), EPOLLIN, connection);
    return connection;
  }

  // Starts every request whose time has come, or lets it wait for a connection; it is late from then on.
  void arrive() {
    const auto gap = static_cast<std::uint64_t>(kSecond / options_.rate);
    for (const std::uint64_t now = now_ns(); next_arrival_ <= now && next_arrival_ < end_;
         next_arrival_ += gap) {
      waiting_.push_back(next_arrival_);
    }
    while (!waiting_.empty()) {
      Connection* connection = nullptr;
      if (!idle_.empty()) {
        connection = idle_.back();
        idle_.pop_back();
      } else if (connections_.size() < options_.connections) {
        connection = open();
      }
      if (connection == nullptr) return;
      const std::uint64_t intended = waiting_.front();
      waiting_.pop_front();
      begin_request(connection, intended);
    }
  }

  void begin_request(Connection* connection, std::uint64_t intended) {
    if (connection == nullptr) return;
    connection->started = intended;
    connection->sent = 0;
    connection->response.restart();
    ++busy_;
    send_more(*connection);
  }

  void send_more(Connection& connection) {
    const ssize_t sent = ::send(connection.fd.get(), request_.data() + connection.sent,
                                request_.size() - connection.sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      fail(connection, std::string("send: ") + std::strerror(errno));
      return;
    }
    connection.sent += sent < 0 ? 0 : static_cast<std::size_t>(sent);
    const std::uint32_t wanted = connection.sent < request_.size() ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (wanted == connection.watched) return;
    connection.watched = wanted;
    poller_.change(connection.fd.get(), wanted, &connection);
  }

  void serve(Connection& connection, std::uint32_t events) {
    if (!connection.fd) return;
    if ((events & EPOLLOUT) != 0 && connection.started != 0) send_more(connection);
    if (!connection.fd || (events & ~std::uint32_t{EPOLLOUT}) == 0) return;
    const ssize_t got = ::recv(connection.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      fail(connection,
           got == 0 ? "closed before the whole answer" : std::string("recv: ") + std::strerror(errno));
      return;
    }
    ResponseReader& response = connection.response;
    response.feed({buffer_.data(), static_cast<std::size_t>(got)}, [](std::string_view) {});
    if (!response.error().empty()) {
      fail(connection, response.error());
    } else if (response.done()) {
      finish(connection);
    }
  }

  void finish(Connection& connection) {
    const ResponseReader& response = connection.response;
    if (response.status() != 200) {
      report_.fail("status " + std::to_string(response.status()));
    } else if (response.body_bytes() != kReply.size()) {
      report_.fail("answer of " + std::to_string(response.body_bytes()) + " bytes, expected " +
                   std::to_string(kReply.size()));
    } else {
      count(connection.started);
    }
    connection.started = 0;
    --busy_;
    if (!response.keeps_alive()) {
      fail(connection, "connection not kept alive");
    } else if (open_loop()) {
      idle_.push_back(&connection);
    } else if (now_ns() < end_) {
      begin_request(&connection, now_ns());
    }
  }

  void count(std::uint64_t started) {
    const std::uint64_t now = now_ns();
    ++report_.total_requests;
    // The window counts answers for throughput and CPU; an open loop's latency is that of the window's
    // arrivals.
    const bool in_window = now >= begin_ && now < end_;
    if (in_window) ++report_.requests;
    if (!(open_loop() ? started >= begin_ && started < end_ : in_window)) return;
    // What the backend was told to take is not latency; without it the histogram keeps its sharpness.
    const std::uint64_t delay = seconds(options_.delay_ms / 1000);
    report_.latency_ns.record(now - started > delay ? now - started - delay : 0);
  }

  void fail(Connection& connection, const std::string& message) {
    report_.fail(connection.started == 0 ? "idle: " + message : message);
    if (connection.started != 0) --busy_;
    connection.started = 0;
    connection.fd.reset();
    std::erase(idle_, &connection);
    // A closed loop keeps its number of connections.
    if (!open_loop() && now_ns() < end_ && report_.errors < 1000) begin_request(open(), now_ns());
  }

  const LoadOptions& options_;
  const std::string request_;
  Poller poller_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> idle_;
  std::deque<std::uint64_t> waiting_;  // intended starts without a connection yet
  std::size_t busy_ = 0;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t next_arrival_ = 0;
  std::array<char, 64 * 1024> buffer_{};
  LoadReport report_;
};

}  // namespace

LoadReport run_posts(const LoadOptions& options) { return std::make_unique<PostLoad>(options)->run(); }

}  // namespace tidegate::bench
