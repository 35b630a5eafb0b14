// bench_backend: stands in for an engine where only the proxy in front of it is measured. Answers at once,
// after a delay, or as a paced stream of server-sent events, as the request's first members say (wire.h). A
// stream's chunks leave on whole milliseconds, as an engine's batch steps would make them; a delay is exact
// to the clock. Every chunk carries the time of its sending.
#include <strings.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "net.h"
#include "wire.h"

namespace tidegate::bench {
namespace {

constexpr std::string_view kModels =
    R"({"object":"list","data":[{"id":"bench","object":"model","created":1750000000,"owned_by":"bench"}]})";
constexpr std::size_t kMaxHead = 32 * 1024;

struct Connection {
  enum class State { kHead, kBody, kThinking, kStreaming };

  Fd fd;
  std::size_t slot = 0;
  std::uint32_t generation = 0;  // a timer of an earlier connection in this slot does not fit
  State state = State::kHead;
  std::string head;
  std::string body_prefix;
  std::uint64_t body_left = 0;
  std::string unsent;
  // The stream.
  std::uint64_t chunks = 0;
  std::uint64_t sent_chunks = 0;
  std::uint64_t started = 0;
  double period_ns = 0;
  double phase = 0;
};

struct Timer {
  std::uint64_t due;
  std::size_t slot;
  std::uint32_t generation;
  bool operator>(const Timer& other) const noexcept { return due > other.due; }
};

// The number behind `member` in the body's first bytes, or `otherwise`.
double member_number(std::string_view body, std::string_view member, double otherwise) {
  const auto at = body.find(member);
  if (at == std::string_view::npos) return otherwise;
  std::string_view text = body.substr(at + member.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  double value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string response(std::string_view status, std::string_view body) {
  std::string text = "HTTP/1.1 ";
  text.append(status).append("\r\ndate: Mon, 16 Jun 2025 12:00:00 GMT\r\nserver: bench\r\n");
  text.append("content-type: application/json\r\ncontent-length: ").append(std::to_string(body.size()));
  return text.append("\r\n\r\n").append(body);
}

class Backend {
 public:
  explicit Backend(const Endpoint& listen)
      : listener_(listen_on(listen)),
        reply_(response("200 OK", kReply)),
        models_(response("200 OK", kModels)),
        not_found_(response("404 Not Found", R"({"error":{"message":"no such path","code":404}})")) {
    poller_.add(listener_.get(), EPOLLIN, nullptr);
  }

  [[noreturn]] void run() {
    for (;;) {
      for (const epoll_event& event : poller_.wait(timers_.empty() ? kForever : timers_.top().due)) {
        if (event.data.ptr == nullptr) {
          accept_all();
        } else {
          serve(*static_cast<Connection*>(event.data.ptr), event.events);
        }
      }
      // Slots are used again only now: events of the same batch may point into a closed connection.
      free_.insert(free_.end(), closed_.begin(), closed_.end());
      closed_.clear();
      run_timers();
    }
  }

 private:
  void accept_all() {
    while (Fd fd = accept_from(listener_)) {
      if (free_.empty()) {
        free_.push_back(connections_.size());
        connections_.push_back(std::make_unique<Connection>());
      }
      const std::size_t slot = free_.back();
      free_.pop_back();
      Connection& connection = *connections_[slot];
      const std::uint32_t generation = connection.generation + 1;
      connection = Connection{};
      connection.fd = std::move(fd);
      connection.slot = slot;
      connection.generation = generation;
      poller_.add(connection.fd.get(), EPOLLIN, &connection);
    }
  }

  void close(Connection& connection) {
    if (!connection.fd) return;
    connection.fd.reset();
    ++connection.generation;
    closed_.push_back(connection.slot);
  }

  void serve(Connection& connection, std::uint32_t events) {
    if (!connection.fd) return;
    if ((events & EPOLLOUT) != 0) flush(connection);
    if (!connection.fd || (events & ~std::uint32_t{EPOLLOUT}) == 0) return;
    const ssize_t got = ::recv(connection.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      close(connection);
      return;
    }
    take(connection, {buffer_.data(), static_cast<std::size_t>(got)});
  }

  void take(Connection& connection, std::string_view data) {
    while (!data.empty() && connection.fd) {
      if (connection.state == Connection::State::kHead) {
        take_head(connection, data);
      } else if (connection.state == Connection::State::kBody) {
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(connection.body_left, data.size()));
        const std::size_t room = kBodyPrefix - std::min(kBodyPrefix, connection.body_prefix.size());
        connection.body_prefix.append(data.substr(0, std::min(size, room)));
        connection.body_left -= size;
        data.remove_prefix(size);
        if (connection.body_left == 0) answer_post(connection);
      } else {
        close(connection);  // a request before the answer to the last one: no proxy should do that
      }
    }
  }

  void take_head(Connection& connection, std::string_view& data) {
    std::string& head = connection.head;
    const std::size_t before = head.size();
    head.append(data);
    const auto end = head.find("\r\n\r\n", before > 3 ? before - 3 : 0);
    if (end == std::string::npos) {
      data = {};
      if (head.size() > kMaxHead) close(connection);
      return;
    }
    data.remove_prefix(end + 4 - before);
    head.resize(end + 2);
    if (head.starts_with("POST ")) {
      start_body(connection);
    } else {
      answer_get(connection);
    }
    head.clear();
  }

  void start_body(Connection& connection) {
    static constexpr std::string_view kName = "\r\ncontent-length:";
    const std::string& head = connection.head;
    for (auto at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at + 2)) {
      if (::strncasecmp(head.data() + at, kName.data(), kName.size()) != 0) continue;
      const auto digits = head.find_first_not_of(' ', at + kName.size());
      std::from_chars(head.data() + digits, head.data() + head.size(), connection.body_left);
    }
    connection.body_prefix.clear();
    connection.state = Connection::State::kBody;
    if (connection.body_left == 0) send(connection, response("411 Length Required", "{}")), close(connection);
  }

  void answer_get(Connection& connection) {
    const std::string_view head = connection.head;
    if (head.starts_with("GET /health ") || head.starts_with("GET /v1/models ")) {
      send(connection, models_);
    } else {
      send(connection, not_found_);
    }
  }

  void answer_post(Connection& connection) {
    const std::string_view body = connection.body_prefix;
    if (body.find(kStreamMember) != std::string_view::npos) {
      start_stream(connection);
      return;
    }
    const double delay_ms = member_number(body, kDelayMember, 0);
    if (delay_ms <= 0) {
      connection.state = Connection::State::kHead;
      send(connection, reply_);
      return;
    }
    connection.state = Connection::State::kThinking;
    arm(connection, now_ns() + static_cast<std::uint64_t>(delay_ms * kMillisecond));
  }

  void start_stream(Connection& connection) {
    const std::string_view body = connection.body_prefix;
    connection.state = Connection::State::kStreaming;
    connection.chunks = static_cast<std::uint64_t>(std::max(1.0, member_number(body, kChunksMember, 20)));
    connection.period_ns = kSecond / std::max(0.001, member_number(body, kRateMember, 20));
    connection.sent_chunks = 0;
    connection.started = now_ns();
    // Streams opened together still tick apart: the golden ratio spreads any number of phases evenly.
    phase_ = std::fmod(phase_ + 0.6180339887498949, 1.0);
    connection.phase = phase_;
    send_chunk(connection,
               "HTTP/1.1 200 OK\r\ndate: Mon, 16 Jun 2025 12:00:00 GMT\r\nserver: bench\r\n"
               "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
               "transfer-encoding: chunked\r\n\r\n");
  }

  static void append_chunk(std::string& out, std::string_view data) {
    std::array<char, 16> size{};
    const auto end = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16).ptr;
    out.append(size.data(), end).append("\r\n").append(data).append("\r\n");
  }

  void send_chunk(Connection& connection, std::string_view before) {
    chunk_.assign(before);
    append_chunk(chunk_, kEvent);
    std::array<char, kStampSize> stamp{};
    const auto end = std::to_chars(stamp.data(), stamp.data() + stamp.size(), now_ns(), 16).ptr;
    const auto digits = static_cast<std::size_t>(end - stamp.data());
    // Two bytes of CRLF and the event's tail stand behind the stamp.
    const std::size_t stamp_end = chunk_.size() - 2 - kEvent.size() + kStampAt + kStampSize;
    chunk_.replace(stamp_end - digits, digits, stamp.data(), digits);
    ++connection.sent_chunks;
    const bool last = connection.sent_chunks == connection.chunks;
    if (last) {
      append_chunk(chunk_, kDone);
      chunk_.append("0\r\n\r\n");
      connection.state = Connection::State::kHead;
    }
    send(connection, chunk_);
    if (last || !connection.fd) return;
    const double offset =
        (static_cast<double>(connection.sent_chunks) - 1 + connection.phase) * connection.period_ns;
    const std::uint64_t due = connection.started + static_cast<std::uint64_t>(offset);
    arm(connection, (due / kMillisecond + 1) * kMillisecond);
  }

  void arm(const Connection& connection, std::uint64_t due) {
    timers_.push({due, connection.slot, connection.generation});
  }

  void run_timers() {
    // A bounded turn: a backend that has fallen behind still accepts and reads.
    const std::uint64_t now = now_ns();
    for (int turn = 0; turn < 512 && !timers_.empty() && timers_.top().due <= now; ++turn) {
      const Timer timer = timers_.top();
      timers_.pop();
      Connection& connection = *connections_[timer.slot];
      if (connection.generation != timer.generation || !connection.fd) continue;
      if (connection.state == Connection::State::kStreaming) {
        send_chunk(connection, {});
      } else if (connection.state == Connection::State::kThinking) {
        connection.state = Connection::State::kHead;
        send(connection, reply_);
      }
    }
  }

  void send(Connection& connection, std::string_view data) {
    if (connection.unsent.empty()) {
      const ssize_t sent = ::send(connection.fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) {
        close(connection);
        return;
      }
      data.remove_prefix(sent < 0 ? 0 : static_cast<std::size_t>(sent));
      if (data.empty()) return;
      poller_.change(connection.fd.get(), EPOLLIN | EPOLLOUT, &connection);
    }
    connection.unsent.append(data);
  }

  void flush(Connection& connection) {
    std::string& unsent = connection.unsent;
    const ssize_t sent = ::send(connection.fd.get(), unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) close(connection);
      return;
    }
    unsent.erase(0, static_cast<std::size_t>(sent));
    if (unsent.empty()) poller_.change(connection.fd.get(), EPOLLIN, &connection);
  }

  Fd listener_;
  const std::string reply_;
  const std::string models_;
  const std::string not_found_;
  Poller poller_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::size_t> free_;
  std::vector<std::size_t> closed_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::string chunk_;
  double phase_ = 0;
  std::array<char, 256 * 1024> buffer_{};
};

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  namespace bench = tidegate::bench;
  CLI::App app("An engine's stand-in for benchmarks: answers at once, after a delay, or as a paced stream.");
  std::string listen;
  unsigned threads = 1;
  app.add_option("--listen", listen, "address to listen on, like 127.0.0.1:8080")->required();
  app.add_option("--threads", threads, "event loops")->check(CLI::Range(1, 64));
  CLI11_PARSE(app, argc, argv);
  bench::raise_descriptor_limit();
  bench::ignore_sigpipe();
  try {
    std::vector<std::unique_ptr<bench::Backend>> backends;
    for (unsigned i = 0; i < threads; ++i) {
      backends.push_back(std::make_unique<bench::Backend>(bench::parse_endpoint(listen)));
    }
    std::vector<std::jthread> loops;
    for (auto& backend : backends) loops.emplace_back([&backend] { backend->run(); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_backend: %s\n", error.what());
    return 1;
  }
}
