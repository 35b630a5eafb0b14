// What: one client's HTTP/1.0 or 1.1 connection: reads requests (keep-alive, pipelining), hands them to
//   responders, writes responses, and sees at any moment that the client has gone.
// Threads: its loop's thread.
// Ownership: owned by its ConnectionSet; owns descriptor, responder, request head and body.
// Errors: a broken request is answered and the connection closed; a broken connection is on_client_gone().
//   Calls on a connection that is lost but has not said so yet have no effect; send() returns false.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include <sys/uio.h>

#include "http/buffer.h"
#include "http/chunked.h"
#include "http/event_loop.h"
#include "http/head.h"
#include "http/listener.h"
#include "http/server_output.h"
#include "http/server_service.h"

namespace tidegate::http {

class ConnectionSet;

class ServerConnection final : public Deferred, private Watched, private BatchEnd {
 public:
  ServerConnection(ConnectionSet& set, UniqueFd fd, const PeerAddress& peer) noexcept;
  ~ServerConnection() override;

  EventLoop& loop() noexcept;
  const PeerAddress& peer() const noexcept { return peer_; }
  int fd() const noexcept { return fd_.get(); }

  // The request. Views in the head are valid until the exchange ends; the body from on_request() on.
  const RequestHead& head() const noexcept { return head_; }
  const Body& body() const noexcept { return body_; }
  Body take_body() noexcept { return std::move(body_); }

  // The response. `header_block` holds complete lines "Name: value\r\n" without Date, Connection, Keep-Alive,
  // Content-Length and Transfer-Encoding, which are written here. The head leaves with the first send() or
  // finish(), or at the end of the batch.
  void send_head(int status, std::string_view header_block, Framing framing) noexcept;
  // Body bytes; framed here, not copied unless the kernel is full. False: more is pending than the high water
  // mark, pause the source until on_writable().
  bool send(std::span<const iovec> data) noexcept;
  bool send(std::string_view data) noexcept;
  // Ends the exchange. A fixed length that has not been reached becomes an abort().
  void finish(std::string_view trailer_block = {}) noexcept { finish({}, trailer_block); }
  void finish(std::span<const iovec> last_data, std::string_view trailer_block = {}) noexcept;
  // Ends the exchange and the connection by a reset: for a response that must not look complete.
  void abort() noexcept;
  // A whole response.
  void reply(int status, std::string_view content_type, std::string_view body,
             std::string_view extra_headers = {}) noexcept;
  void keep_alive(bool on) noexcept { keep_alive_ = keep_alive_ && on; }  // before send_head()

  bool head_sent() const noexcept { return output_.started(); }  // send_head() was called
  std::size_t pending_output() const noexcept { return output_.pending(); }
  std::uint64_t response_bytes() const noexcept { return output_.body_bytes(); }  // of this exchange's body
  Responder* responder() noexcept { return responder_.get(); }                    // null: no exchange

 private:
  friend class ConnectionSet;
  enum class Phase : std::uint8_t { head, body, exchange, flush, linger, closed };
  enum class Gone : std::uint8_t { quietly, reset };

  void on_ready(std::uint32_t epoll_events) noexcept override;
  void on_batch_end() noexcept override;
  void on_timer() noexcept;

  // Reading (server_read.cc)
  void read_input() noexcept;
  void read_ahead() noexcept;
  void read_body() noexcept;
  void drain_input() noexcept;
  std::size_t receive(char* to, std::size_t size) noexcept;
  std::size_t feed(std::string_view input) noexcept;
  void feed_stashed() noexcept;
  void stash(std::string_view input) noexcept;
  std::size_t take_head(std::string_view input) noexcept;
  bool own_head(std::string_view bytes) noexcept;
  void begin_exchange() noexcept;
  void drop_head() noexcept;
  std::size_t take_body_bytes(std::string_view input) noexcept;
  std::size_t take_chunks(std::string_view input) noexcept;
  bool body_ok(Body::Status status) noexcept;
  void request_complete() noexcept;
  void turn_away(bool lingering) noexcept;
  void refuse(int status, std::string_view code, std::string_view message) noexcept;

  // Life (server_connection.cc)
  bool open() noexcept;
  void writable() noexcept;
  void wrote(ResponseOutput::Result result) noexcept;
  bool may_write() const noexcept { return responder_ != nullptr && !lost_; }
  std::unique_ptr<Responder> take_responder() noexcept;
  void ended() noexcept;
  void after_response(bool more_input) noexcept;
  void start_linger() noexcept;
  void client_gone() noexcept;
  void close(Gone how) noexcept;
  void retire() noexcept;
  void close_now() noexcept;
  bool idle() const noexcept { return phase_ == Phase::head && in_.empty(); }
  void update_interest() noexcept;
  std::uint64_t delivered() const noexcept;
  void note_delivery() noexcept;
  bool still_delivers() noexcept;
  std::uint64_t body_due() const noexcept;
  std::uint64_t deadline() const noexcept;
  void watch_deadline() noexcept;

  ConnectionSet& set_;
  ServerConnection* next_ = nullptr;  // the set's list
  ServerConnection** link_ = nullptr;
  UniqueFd fd_;
  PeerAddress peer_;
  Phase phase_ = Phase::head;
  bool keep_alive_ = true;
  bool feeding_ = false;        // feed() is on the stack and will go on with the input itself
  bool want_writable_ = false;  // send() has returned false
  bool lost_ = false;           // found out while writing; told at the end of the batch
  bool read_paused_ = false;    // enough read ahead
  bool drained_ = true;         // the last look found less than it had room for: nothing is left unread
  bool served_ = false;         // at least one request has begun
  bool admitted_ = true;        // counted by the set's cap
  bool request_open_ = false;   // part of the current request is still unread
  ResponseOutput output_;
  ByteBuffer in_;            // input not yet consumed; empty while idle
  ByteBuffer head_storage_;  // what head_ points into
  RequestHead head_;
  RequestParser parser_;
  ChunkedDecoder chunks_;
  Body body_;
  std::unique_ptr<Responder> responder_;
  std::uint64_t since_ms_ = 0;       // last progress of what deadline() looks at
  std::uint64_t body_since_ms_ = 0;  // begin of the body
  std::uint64_t lingered_ = 0;
  std::uint64_t delivered_ = 0;  // delivered() at since_ms_, while output is blocked
  Timer timer_{Timer::of<&ServerConnection::on_timer>, this};
};

}  // namespace tidegate::http
