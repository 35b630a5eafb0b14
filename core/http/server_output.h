// What: the writing half of a server connection: response heads, framing, gathering writes, pending output.
// Threads: the connection's loop.
// Ownership: borrows the descriptor. Copies only what the kernel did not take.
// Errors: never throws; `failed` means that the connection is lost or that the response broke its framing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <sys/uio.h>

#include "http/buffer.h"
#include "http/server_service.h"

namespace tidegate::http {

class ResponseOutput {
 public:
  enum class Result : std::uint8_t { sent, pending, failed };

  struct Head {
    int status = 200;
    std::string_view block;  // complete lines "Name: value\r\n"
    Framing framing;
    std::string_view date_line;
    bool http10 = false;
    bool head_request = false;  // announce the body, send none
    bool keep_alive = true;     // in: wanted; begin() says what became of it
  };

  void attach(int fd) noexcept { fd_ = fd; }

  // Queues the head; nothing leaves before write(), end() or flush(). Returns whether the connection can be
  // kept (a close-delimited body can't).
  bool begin(const Head& head) noexcept;

  // Body bytes. One sendmsg takes what is queued, the framing and the data, unless output is blocked.
  Result write(std::span<const iovec> data) noexcept;
  // The last body bytes, if any, and the end of the framing. `trailer` = complete lines.
  Result end(std::span<const iovec> data, std::string_view trailer) noexcept;
  Result raw(std::string_view bytes) noexcept;  // an interim response
  Result flush() noexcept;                      // sends what is pending

  std::size_t pending() const noexcept { return out_.size(); }
  bool blocked() const noexcept { return blocked_; }  // the kernel is full: wait for EPOLLOUT
  bool started() const noexcept { return started_; }
  std::uint64_t body_bytes() const noexcept { return body_bytes_; }  // given so far, of this response
  std::uint64_t taken() const noexcept { return taken_; }            // by the kernel, of all responses
  void reset() noexcept;                                             // ready for the next response

 private:
  enum class Mode : std::uint8_t { none, fixed, chunked, until_close };
  static constexpr std::size_t max_pieces = 60;  // data pieces in one sendmsg

  Result write_group(std::span<const iovec> data, std::size_t size, std::string_view tail) noexcept;
  Result gather(std::span<iovec> pieces) noexcept;
  Result queue(std::span<const iovec> pieces, std::size_t skip) noexcept;

  int fd_ = -1;
  Mode mode_ = Mode::none;
  bool started_ = false;
  bool suppressed_ = false;  // answer to HEAD
  bool blocked_ = false;
  bool failed_ = false;
  std::uint64_t remaining_ = 0;  // of a fixed length
  std::uint64_t body_bytes_ = 0;
  std::uint64_t taken_ = 0;
  ByteBuffer out_;
};

}  // namespace tidegate::http
