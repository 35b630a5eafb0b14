// What: for tests of the service: an engine on a loop that the test's own thread runs, and a client with a
// real
//   socket. A test is deterministic: the engine moves only while the test waits.
// Threads: one.
// Ownership: an Engine outlives its Clients.
// Errors: a connection that can't be made or breaks is told by connected(), at_end(), was_reset().
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

#include "engine/engine_server.h"
#include "http/event_loop.h"
#include "http/listener.h"

namespace tidegate::engine::testing {

using http::EventLoop;
using http::UniqueFd;

inline EngineOptions fast(Flavor flavor = Flavor::sglang) {
  EngineOptions options;
  options.flavor = flavor;
  options.model.speed = 1000;
  return options;
}

// An engine and its loop, run by the test's own thread whenever a client waits.
struct Engine {
  explicit Engine(EngineOptions options = fast()) : server(loop, std::move(options)) {
    server.open("127.0.0.1:0");
  }
  ~Engine() { server.end(); }
  const EngineCounters& counters() { return server.service().counters(); }
  const EngineModel& model() { return server.service().model(); }
  template <class Condition>
  void run_until(Condition done) {
    while (!done()) loop.run_once(1000);
  }

  EventLoop loop;
  EngineServer server;
};

class Client {
 public:
  explicit Client(Engine& engine) : engine_(engine), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(engine.server.port())};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  bool connected() const { return connected_; }
  bool was_reset() const { return reset_; }
  bool at_end() const { return ended_; }
  void close() { fd_.reset(); }

  void send(std::string_view bytes) { (void)::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  void post(std::string_view path, std::string_view body) {
    send("POST " + std::string(path) + " HTTP/1.1\r\nHost: engine\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  }
  // All that has come when `mark` has come (behind `from`), or the connection's end.
  const std::string& read_until(std::string_view mark, std::size_t from = 0) {
    while (got_.find(mark, from) == std::string::npos && !ended_) {
      engine_.loop.run_once(1);
      receive();
    }
    return got_;
  }
  const std::string& read_to_end() {
    while (!ended_) {
      engine_.loop.run_once(1);
      receive();
    }
    return got_;
  }
  // One whole response with a length; returns its body.
  std::string exchange(std::string_view request) {
    got_.clear();
    send(request);
    read_until("\r\n\r\n");
    const std::size_t head = got_.find("\r\n\r\n") + 4, at = got_.find("Content-Length: ");
    if (at == std::string::npos) return {};
    const std::size_t length = std::stoul(got_.substr(at + 16));
    while (got_.size() < head + length && !ended_) {
      engine_.loop.run_once(1);
      receive();
    }
    return got_.substr(head);
  }
  std::string get(std::string_view path) {
    return exchange("GET " + std::string(path) + " HTTP/1.1\r\nHost: engine\r\n\r\n");
  }
  std::string call(std::string_view path, std::string_view body) {
    return exchange("POST " + std::string(path) + " HTTP/1.1\r\nHost: engine\r\nContent-Length: " +
                    std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  }
  const std::string& got() const { return got_; }

 private:
  void receive() {
    char buffer[65536];
    const ssize_t count = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count > 0) {
      got_.append(buffer, static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EAGAIN) {
      ended_ = true;
      reset_ = count < 0 && errno == ECONNRESET;
    }
  }

  Engine& engine_;
  UniqueFd fd_;
  bool connected_ = false, ended_ = false, reset_ = false;
  std::string got_;
};

inline std::size_t count_of(std::string_view text, std::string_view what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

inline constexpr std::string_view chat =
    R"({"model":"llama-3-8b","max_tokens":7,"messages":[{"role":"user","content":"How high is the tide?"}]})";
inline constexpr std::string_view stream =
    R"({"model":"llama-3-8b","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"How high is the tide?"}]})";
inline constexpr std::string_view long_stream =
    R"({"model":"llama-3-8b","max_tokens":100000,"ignore_eos":true,"stream":true,"messages":[{"role":"user","content":"x"}]})";

}  // namespace tidegate::engine::testing
