// What: reads one HTTP/1.1 response at a time from pieces of any size: content-length and chunked, nothing
// else. Threads: one. Ownership: keeps the head only until it is parsed; body bytes are handed on as views
// into the caller's buffer. Errors: error() names the first thing that was not as expected; feed() then takes
// nothing more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tidegate::bench {

class ResponseReader {
 public:
  // Forgets the last response; head and counters start anew.
  void restart() noexcept;

  // Takes bytes until `data` or the response ends; `on_body(std::string_view)` gets decoded body bytes.
  template <class OnBody>
  void feed(std::string_view data, OnBody&& on_body) {
    while (!data.empty() && !done() && error_.empty()) {
      if (const std::string_view body = step(data); !body.empty()) on_body(body);
    }
    if (!data.empty() && error_.empty()) error_ = "bytes after the end of the response";
  }

  bool started() const noexcept { return state_ != State::kHead || !line_.empty(); }
  bool done() const noexcept { return state_ == State::kDone; }
  bool keeps_alive() const noexcept { return keep_alive_; }
  int status() const noexcept { return status_; }
  std::uint64_t body_bytes() const noexcept { return body_bytes_; }
  const std::string& error() const noexcept { return error_; }

 private:
  enum class State { kHead, kLength, kChunkSize, kChunkData, kChunkEnd, kTrailer, kDone };

  std::string_view step(std::string_view& data);
  void take_head(std::string_view& data);
  void parse_head();
  void parse_field(std::string_view line);
  bool take_line(std::string_view& data);
  void parse_chunk_size();
  std::string_view take_body(std::string_view& data, State next) noexcept;

  State state_ = State::kHead;
  std::string line_;  // the head, later a chunk-size or trailer line, as far as it has come
  std::string error_;
  std::uint64_t left_ = 0;
  std::uint64_t body_bytes_ = 0;
  int status_ = 0;
  bool chunked_ = false;
  bool has_length_ = false;
  bool keep_alive_ = true;
};

}  // namespace tidegate::bench
