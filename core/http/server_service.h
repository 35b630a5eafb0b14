// What: the application's side of the HTTP server: a Service makes one Responder a request; limits; framings.
// Threads: all calls come on the loop's thread of the connection.
// Ownership: the connection owns its responder and destroys it at the end of the batch in which the exchange
//   ended: after finish(), reply(), abort() or on_client_gone().
// Errors: nothing here throws into the connection; begin() may return null, which is answered with a 500.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "http/event_loop.h"

namespace tidegate::http {

class ServerConnection;
struct PeerAddress;

// Times in milliseconds; 0 = no limit.
struct ServerLimits {
  std::uint32_t max_head = 64 * 1024;
  std::uint32_t max_headers = 100;
  std::uint64_t max_body = 64 * 1024 * 1024;
  std::uint64_t header_timeout = 10'000;  // from a connection's start or a head's first byte to its end
  std::uint64_t body_timeout = 30'000;    // between two pieces of body
  std::uint64_t min_body_rate = 1024;    // bytes a second over the whole body, body_timeout granted; 0 = none
  std::uint64_t idle_timeout = 75'000;   // between two requests
  std::uint64_t write_timeout = 60'000;  // the client takes nothing of what is pending
  std::uint64_t linger_timeout = 5'000;  // reading on behind a response that came before the request's end
  std::uint64_t linger_bytes = 16 * 1024 * 1024;
  std::size_t pipeline_bytes = 16 * 1024;  // input read ahead during an exchange
  std::size_t out_high_water = 64 * 1024;  // send() says false above it; on_writable() comes at half of it
};

// How the end of a response body is told. `stream` is chunked, or close-delimited for a HTTP/1.0 client.
struct Framing {
  enum class Kind : std::uint8_t { none, fixed, stream };
  Kind kind = Kind::none;
  std::uint64_t length = 0;

  static constexpr Framing none() noexcept { return {}; }  // 204, 304: no body, no length
  static constexpr Framing fixed(std::uint64_t length) noexcept { return {Kind::fixed, length}; }
  static constexpr Framing stream() noexcept { return {Kind::stream, 0}; }
};

class Responder : public Deferred {
 public:
  // The head is parsed, the body not yet read. May reply at once: if a body was announced it is then not
  // read, and the connection closes behind the response.
  virtual void on_head() noexcept {}
  // The body is complete. Reply now or at any time later.
  virtual void on_request() noexcept = 0;
  // Pending output has fallen below half of the high water mark after send() had returned false.
  virtual void on_writable() noexcept {}
  // FIN, RST or write timeout, at any time from on_head() on until the exchange ends. Never called from
  // inside a call of the responder into its connection. It must not touch the connection again.
  virtual void on_client_gone() noexcept = 0;
  // The server itself has answered, while the body came (400, 408, 413, 503). As after on_client_gone().
  virtual void on_refused(int status, std::string_view code) noexcept {
    static_cast<void>(status), static_cast<void>(code);
    on_client_gone();
  }
};

class Service {
 public:
  virtual ~Service() = default;

  virtual std::unique_ptr<Responder> begin(ServerConnection& connection) noexcept = 0;

  // The server itself has answered (400, 408, 413, 431, 500, 503, 505), or given up on a silent client.
  virtual void on_protocol_error(int status, std::string_view code, const PeerAddress& peer) noexcept;

  // The JSON body of such an answer.
  virtual std::string error_body(int status, std::string_view code, std::string_view message);
};

std::string_view reason_phrase(int status) noexcept;

}  // namespace tidegate::http
