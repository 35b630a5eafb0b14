// Open streams: opens all of them, takes the window while every one is open and flowing, and then reads each
// to its end. Every byte is compared with what the backend is known to send, so a lost, doubled or altered
// chunk is an error; a chunk's latency is the time from the backend's stamp in it to its last byte here.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>

#include "http_response.h"
#include "load.h"
#include "wire.h"

namespace tidegate::bench {
namespace {

constexpr std::size_t kOpenAtOnce = 128;  // below every proxy's accept backlog

struct Stream {
  Fd fd;
  ResponseReader response;
  std::uint64_t stamp = 0;
  std::size_t at = 0;  // in the event under way
  std::uint64_t chunks = 0;
  bool requested = false;
  bool open = false;  // has its first chunk
  bool damaged = false;
};

class StreamLoad {
 public:
  explicit StreamLoad(const LoadOptions& options)
      : options_(options),
        // Half a second to settle, the window, and as much for the first chunk's phase to be past.
        chunks_(static_cast<std::uint64_t>(
            std::ceil(options.rate * (options.warmup_s + 0.5 + options.window_s + 0.5)) + 1)),
        request_(make_request(options, std::string(kStreamMember) + ',' + std::string(kChunksMember) +
                                           std::to_string(chunks_) + ',' + std::string(kRateMember) +
                                           std::to_string(options.rate) + ',')),
        streams_(options.connections) {}

  LoadReport run() {
    report_.idle = sample_processes(options_.watched);
    const std::uint64_t start = now_ns();
    const std::uint64_t deadline = start + seconds(2 * options_.warmup_s + options_.window_s + 15);
    const std::uint64_t open_limit = start + seconds(options_.warmup_s);
    while (now_ns() < deadline && ended_ < streams_.size()) {
      while (started_ < streams_.size() && started_ - opened_ - failed_ < kOpenAtOnce)
        open(streams_[started_++]);
      for (const epoll_event& event : poller_.wait(next_edge(deadline))) {
        serve(*static_cast<Stream*>(event.data.ptr));
      }
      pass_edges(start);
      if (begin_at_ == 0 && now_ns() > open_limit + kSecond / 4) {
        report_.fail("only " + std::to_string(opened_) + " streams open in the time allowed",
                     streams_.size());
        break;
      }
      if (failed_ > 1000) break;
    }
    if (ended_ < streams_.size()) report_.fail("streams not ended", streams_.size() - ended_);
    if (report_.end.at_ns == 0) report_.fail("no measured window");
    return report_;
  }

 private:
  static std::uint64_t seconds(double value) { return static_cast<std::uint64_t>(value * kSecond); }

  std::uint64_t next_edge(std::uint64_t deadline) const {
    if (begin_at_ == 0) return now_ns() + 10 * kMillisecond;
    if (report_.begin.at_ns == 0) return begin_at_;
    if (report_.end.at_ns == 0) return end_at_;
    return deadline;
  }

  void pass_edges(std::uint64_t start) {
    const std::uint64_t now = now_ns();
    if (begin_at_ == 0 && opened_ == streams_.size()) {
      report_.open_s = static_cast<double>(now - start) / kSecond;
      begin_at_ = now + kSecond / 2;
      end_at_ = begin_at_ + seconds(options_.window_s);
    }
    if (begin_at_ == 0) return;
    if (report_.begin.at_ns == 0 && now >= begin_at_) {
      in_window_ = true;
      report_.begin = sample_processes(options_.watched);
    }
    if (report_.end.at_ns == 0 && now >= end_at_) {
      in_window_ = false;
      if (ended_ > 0) report_.fail("streams ended inside the window", ended_);
      report_.end = sample_processes(options_.watched);
    }
  }

  void open(Stream& stream) {
    stream.fd = connect_to(options_.target);
    if (!stream.fd) {
      fail(stream, std::string("connect: ") + std::strerror(errno));
      return;
    }
    poller_.add(stream.fd.get(), EPOLLIN | EPOLLOUT, &stream);
  }

  void serve(Stream& stream) {
    if (!stream.fd) return;
    if (!stream.requested) {
      request(stream);
      return;
    }
    const ssize_t got = ::recv(stream.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      fail(stream,
           got == 0 ? "closed before the stream's end" : std::string("recv: ") + std::strerror(errno));
      return;
    }
    stream.response.feed({buffer_.data(), static_cast<std::size_t>(got)},
                         [&](std::string_view body) { check(stream, body); });
    if (!stream.response.error().empty()) {
      fail(stream, stream.response.error());
    } else if (stream.damaged) {
      fail(stream, "bytes other than the backend's");
    } else if (stream.response.done()) {
      finish(stream);
    }
  }

  void request(Stream& stream) {
    const ssize_t sent = ::send(stream.fd.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(request_.size())) {
      fail(stream, std::string("send: ") + std::strerror(errno));
      return;
    }
    stream.requested = true;
    poller_.change(stream.fd.get(), EPOLLIN, &stream);
  }

  void check(Stream& stream, std::string_view body) {
    while (!body.empty() && !stream.damaged) {
      const std::string_view expected = stream.chunks < chunks_ ? kEvent : kDone;
      const std::size_t size = std::min(body.size(), expected.size() - stream.at);
      for (std::size_t i = 0; i < size; ++i)
        take_byte(stream, body[i], expected[stream.at + i], stream.at + i);
      stream.at += size;
      body.remove_prefix(size);
      if (stream.at < expected.size()) return;
      stream.at = 0;
      if (++stream.chunks <= chunks_) count(stream);
    }
  }

  // Outside the stamp every byte is known; the stamp is read as it comes, in whatever pieces.
  void take_byte(Stream& stream, char byte, char expected, std::size_t at) {
    if (stream.chunks >= chunks_ || at - kStampAt >= kStampSize) {
      stream.damaged |= byte != expected;
      return;
    }
    const int digit = byte <= '9' ? byte - '0' : byte - 'a' + 10;
    stream.stamp = stream.stamp << 4 | static_cast<std::uint64_t>(digit & 15);
  }

  void count(Stream& stream) {
    ++report_.total_chunks;
    if (!stream.open) {
      stream.open = true;
      ++opened_;
    }
    if (in_window_) {
      ++report_.chunks;
      const std::uint64_t now = now_ns();
      report_.latency_ns.record(now > stream.stamp ? now - stream.stamp : 0);
    }
    stream.stamp = 0;
  }

  void finish(Stream& stream) {
    if (stream.response.status() != 200) {
      fail(stream, "status " + std::to_string(stream.response.status()));
      return;
    }
    if (stream.chunks != chunks_ + 1) {
      fail(stream,
           "stream of " + std::to_string(stream.chunks) + " events, expected " + std::to_string(chunks_ + 1));
      return;
    }
    ++report_.total_requests;
    ++report_.requests;
    ++ended_;
    stream.fd.reset();
  }

  void fail(Stream& stream, const std::string& message) {
    const int status = stream.response.status();
    report_.fail(status != 0 && status != 200 ? "status " + std::to_string(status) : message);
    if (!stream.open) ++failed_;
    ++ended_;
    stream.fd.reset();
  }

  const LoadOptions& options_;
  const std::uint64_t chunks_;  // events of each stream, before its [DONE]
  const std::string request_;
  Poller poller_;
  std::vector<Stream> streams_;
  std::size_t started_ = 0;
  std::size_t opened_ = 0;
  std::size_t failed_ = 0;
  std::size_t ended_ = 0;
  std::uint64_t begin_at_ = 0;
  std::uint64_t end_at_ = 0;
  bool in_window_ = false;
  std::array<char, 64 * 1024> buffer_{};
  LoadReport report_;
};

}  // namespace

LoadReport run_streams(const LoadOptions& options) { return std::make_unique<StreamLoad>(options)->run(); }

}  // namespace tidegate::bench
