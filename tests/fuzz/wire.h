// What: what both ends of the fuzzer speak with: a non-blocking socket that keeps what came, and readers that
//   take whole messages off a byte stream at leisure, as a reference for what the gateway must have seen.
// Threads: one. Ownership: values. Errors: a Failure is thrown where the oracle is not content.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "http/chunked.h"
#include "http/head.h"
#include "http/listener.h"

namespace tidegate::fuzz {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Socket {
 public:
  Socket() = default;
  explicit Socket(http::UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  bool open() const noexcept { return static_cast<bool>(fd_); }
  std::size_t send(std::string_view bytes) noexcept;  // what the kernel took
  bool receive(std::size_t most) noexcept;            // appends to in; true: something new, an end too
  void fin() noexcept;
  void close_gently() noexcept;
  void reset() noexcept;

  std::string in;
  bool eof = false, broken = false;  // FIN, RST seen
  bool ended() const noexcept { return eof || broken || !open(); }

 private:
  http::UniqueFd fd_;
};

struct Message {
  std::string method, path, request_id, host, leg, plan, body;
  bool expects = false;
};

// Requests off one connection's bytes, in order, up to the first that is not well-formed.
class RequestReader {
 public:
  void read(const std::string& all);  // `all` only ever grows
  std::vector<Message> complete;
  bool bad = false;
  std::string why;
  bool partial(const std::string& all) const noexcept { return at_ < all.size() || in_body_; }
  // The last head, while its body is still to come.
  bool in_body() const noexcept { return in_body_; }
  const Message& open() const noexcept { return now_; }

 private:
  bool read_head(const std::string& all);
  bool read_body(const std::string& all);
  std::size_t at_ = 0;
  bool in_body_ = false, chunked_ = false;
  std::uint64_t left_ = 0;
  Message now_;
  http::RequestParser parser_;
  http::ChunkedDecoder chunks_;
};

struct Response {
  int status = 0;
  std::string request_id, type, body;
  bool whole = false;        // its framing ended
  bool until_close = false;  // its framing is the connection's end
  bool closes = false;       // says so
};

// All final responses in `all`; the last may be cut. `methods`: of the requests, in order.
std::vector<Response> read_responses(const std::string& all, bool ended, const std::vector<Message>& requests,
                                     std::size_t& interim);

}  // namespace tidegate::fuzz
