// What: what both ends of the fuzzer speak with: a non-blocking socket that keeps what came.
// Threads: one. Ownership: values. Errors: none here; a Failure is thrown where the oracle is not content.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "http/listener.h"

namespace tidegate::fuzz {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Socket {
 public:
  Socket() = default;
  // What is sent is there at once: the kernel does not wait to see whether more follows.
  explicit Socket(http::UniqueFd fd) noexcept;
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

}  // namespace tidegate::fuzz
