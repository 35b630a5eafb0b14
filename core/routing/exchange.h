// What: the client's side of a proxied request: the server's Responder, which answers for a Run.
// Threads: its loop's.
// Ownership: owned by its connection; owns its Run until it detaches from it.
// Errors: as its run says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/endpoints.h"
#include "api/errors.h"
#include "http/server_connection.h"
#include "http/sse.h"
#include "routing/io_context.h"
#include "routing/pooled.h"
#include "telemetry/metrics.h"

namespace tidegate::routing {

class Run;

class Exchange final : public http::Responder, public Pooled<Exchange> {
 public:
  Exchange(IoContext& io, http::ServerConnection& connection, const api::EndpointMatch& endpoint,
           const telemetry::EndpointMetrics& metrics);
  ~Exchange() override;

  void on_head() noexcept override;
  void on_request() noexcept override;
  void on_writable() noexcept override;
  void on_client_gone() noexcept override;
  void on_refused(int status, std::string_view code) noexcept override;
  // The drain's time is up: an open event stream gets an error event, anything else is cut.
  void last_words() noexcept;

  // For the run.
  http::ServerConnection& connection() noexcept { return connection_; }
  const http::RequestHead& head() const noexcept { return connection_.head(); }
  const api::Endpoint& endpoint() const noexcept { return *endpoint_.endpoint; }
  std::string_view request_id() const noexcept { return request_id_; }
  std::string_view traceparent() const noexcept { return traceparent_; }
  std::string_view client_address() const noexcept { return {client_address_, client_address_size_}; }
  std::uint64_t head_ns() const noexcept { return head_ns_; }

  void fail(api::ErrorCode code, std::string_view message, std::uint32_t retry_after_s,
            std::string_view param) noexcept;
  void begin_response(std::uint32_t status, std::string& header_block, bool fixed, std::uint64_t length,
                      bool has_body, bool event_stream) noexcept;
  bool relay(std::span<const iovec> pieces) noexcept;  // false: pause the worker
  void relay_end(std::span<const iovec> last, std::string_view trailer_section) noexcept;
  // The worker died in the middle of its response.
  void relay_broken(api::ErrorCode code, std::string_view message, std::string_view closing) noexcept;
  // A leg is on its way; `since`: when the request was complete, and nobody else was waited for.
  void note_left(std::uint64_t since) noexcept;
  bool explaining() const noexcept { return explaining_; }  // the client asked why it goes where it goes

 private:
  void finished(std::uint32_t status, std::string_view error,
                std::uint64_t now = 0) noexcept;  // now: if known
  void count(std::uint32_t status, const http::StreamStats& stats) noexcept;
  void log(std::uint32_t status, std::string_view error, const http::StreamStats& stats,
           std::uint64_t first_byte_ns, std::uint64_t now) noexcept;
  std::uint64_t note_answer_sent() noexcept;  // the time
  void add_own_headers(std::string& block) noexcept;
  Run* take_run() noexcept;

  IoContext& io_;
  http::ServerConnection& connection_;
  api::EndpointMatch endpoint_;
  const telemetry::EndpointMetrics& metrics_;
  Run* run_ = nullptr;
  std::string_view request_id_, traceparent_;  // the client's own, or of the memory below
  char minted_id_[20], minted_trace_[55], client_address_[46];
  std::uint8_t client_address_size_ = 0;
  std::uint64_t head_ns_, bytes_in_ = 0;
  std::uint64_t overhead_ns_ = 0, answer_ns_ = 0;  // answer_ns_: when the answer came, until it was sent
  std::uint32_t status_ = 0;
  bool fixed_ = false, event_stream_ = false, responded_ = false, counted_ = false, left_ = false,
       explaining_ = false;
};

// Appends the end-to-end headers of an engine's response as "Name: value\r\n" lines.
void append_response_headers(const http::ResponseHead& head, std::string& out);

}  // namespace tidegate::routing
