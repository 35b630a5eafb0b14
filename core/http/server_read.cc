// The reading half of ServerConnection: from received bytes to complete requests.
#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include <sys/socket.h>

#include "http/server_connection.h"
#include "http/server_set.h"

namespace tidegate::http {

namespace {

constexpr int body_reads_a_wake = 8;
constexpr std::size_t body_read_size = 256 * 1024;

}  // namespace

void ServerConnection::read_input() noexcept {
  switch (phase_) {
    case Phase::closed: return;
    case Phase::linger: return drain_input();
    case Phase::exchange:
    case Phase::flush: return read_ahead();
    case Phase::body:
      if (!head_.chunked) return read_body();
      break;
    case Phase::head: break;
  }
  const std::size_t size = receive(set_.input_.get(), ConnectionSet::input_size);
  if (size == 0) return;
  if (phase_ == Phase::body) since_ms_ = loop().now_ms();
  const std::string_view input(set_.input_.get(), size);
  if (in_.empty()) {
    stash(input.substr(feed(input)));
  } else {
    stash(input);
    feed_stashed();
  }
}

// 0: nothing there, or the connection has been ended.
std::size_t ServerConnection::receive(char* to, std::size_t size) noexcept {
  ssize_t got;
  do {
    got = ::recv(fd_.get(), to, size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  drained_ = got < static_cast<ssize_t>(size);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) client_gone();
  return 0;
}

// During an exchange: a bounded piece of what comes next, so that a FIN behind it is not hidden for long.
void ServerConnection::read_ahead() noexcept {
  const std::size_t most = set_.limits().pipeline_bytes;
  if (in_.size() < most) {
    const std::span<char> scratch = loop().scratch();
    const std::size_t size = receive(scratch.data(), std::min(scratch.size(), most - in_.size()));
    if (size == 0) return;
    stash({scratch.data(), size});
  }
  if (in_.size() < most) return;
  read_paused_ = true;
  update_interest();
}

// Straight into the body, and not a byte beyond it.
void ServerConnection::read_body() noexcept {
  const std::uint64_t length = *head_.content_length;
  for (int i = 0; i < body_reads_a_wake && phase_ == Phase::body; ++i) {
    const std::size_t missing = static_cast<std::size_t>(length) - body_.size();
    const std::span<char> room = body_.room(missing);
    if (room.empty()) {
      body_ok(Body::Status::no_memory);
      return;
    }
    const std::size_t asked = std::min({missing, room.size(), body_read_size});
    const std::size_t size = receive(room.data(), asked);
    if (size == 0) return;
    since_ms_ = loop().now_ms();
    if (!body_ok(body_.commit(size))) return;
    if (body_.size() == length) feed({});
    if (size < asked) return;
  }
}

void ServerConnection::drain_input() noexcept {
  const std::span<char> scratch = loop().scratch();
  const std::size_t size = receive(scratch.data(), scratch.size());
  lingered_ += size;
  if (lingered_ > set_.limits().linger_bytes) close(Gone::quietly);
}

void ServerConnection::stash(std::string_view input) noexcept {
  if (input.empty() || phase_ == Phase::closed || phase_ == Phase::linger) return;
  const bool first = in_.empty();
  if (!in_.append(input)) return client_gone();
  if (phase_ != Phase::head || !first) return;
  since_ms_ = loop().now_ms();  // of a head's first byte
  watch_deadline();
}

void ServerConnection::feed_stashed() noexcept {
  const std::size_t used = feed(in_.view());
  if (used != 0) in_.consume(used);
}

// Consumes as much as the phases allow and says how much; the rest is to be kept by the caller. Requests that
// are answered at once are followed by the next without going through the loop.
std::size_t ServerConnection::feed(std::string_view input) noexcept {
  std::size_t used = 0;
  feeding_ = set_.feeding_ = true;
  for (bool more = true; more;) {
    const std::string_view rest = input.substr(used);
    switch (phase_) {
      case Phase::head: {
        const std::size_t taken = rest.empty() ? 0 : take_head(rest);
        used += taken;
        more = taken != 0 || phase_ != Phase::head;
        break;
      }
      case Phase::body:
        if (!head_.chunked && body_.size() == head_.content_length.value_or(0)) {
          request_complete();
        } else if (rest.empty()) {
          more = false;
        } else {
          used += take_body_bytes(rest);
        }
        break;
      case Phase::exchange: more = false; break;
      case Phase::flush:
        if (output_.pending() == 0 && !lost_) {
          after_response(!rest.empty());
        } else {
          more = false;
        }
        break;
      case Phase::linger:
      case Phase::closed:
        used = input.size();
        more = false;
        break;
    }
  }
  feeding_ = set_.feeding_ = false;
  if (phase_ == Phase::head) drop_head();
  if (phase_ == Phase::body) watch_deadline();
  return used;
}

std::size_t ServerConnection::take_head(std::string_view input) noexcept {
  head_.clear();
  const ParseResult result = parser_.parse({input.data(), input.size()}, head_);
  if (result.need_more()) return 0;
  if (result.failed()) {
    head_.clear();
    refuse(result.status, result.code, result.message);
    return 0;
  }
  if (!own_head(input.substr(0, result.consumed))) {
    close(Gone::quietly);
    return 0;
  }
  const bool body_came_along = input.size() > result.consumed;
  begin_exchange();
  if (phase_ == Phase::body && head_.expect_continue && head_.version == 11 && !body_came_along &&
      !output_.started()) {
    wrote(output_.raw("HTTP/1.1 100 Continue\r\n\r\n"));
  }
  return result.consumed;
}

// The parsed views point into a buffer that is not ours; moves the bytes and the views behind them.
bool ServerConnection::own_head(std::string_view bytes) noexcept {
  head_storage_.release();
  if (!head_storage_.append(bytes)) return false;
  const char* from = bytes.data();
  const char* to = head_storage_.data();
  const auto move = [&](std::string_view& view) {
    // A view of something constant, or of nothing, stays where it is.
    if (view.data() < from || view.data() > from + bytes.size()) return;
    view = {to + (view.data() - from), view.size()};
  };
  for (std::string_view* view : {&head_.method, &head_.target, &head_.path, &head_.query, &head_.host}) {
    move(*view);
  }
  for (HeaderField& field : head_.fields) {
    move(field.name);
    move(field.value);
  }
  for (std::string_view& name : head_.connection_names) move(name);
  return true;
}

void ServerConnection::drop_head() noexcept {
  head_.clear();
  head_storage_.release();
}

void ServerConnection::begin_exchange() noexcept {
  served_ = true;
  output_.reset();
  chunks_.reset();
  keep_alive_ = head_.keep_alive && !set_.draining();
  since_ms_ = body_since_ms_ = loop().now_ms();
  phase_ = Phase::body;
  const std::uint64_t length = head_.content_length.value_or(0);
  if (length > set_.limits().max_body) {
    return refuse(413, "request_body_too_large", "The request's body is longer than this server's max_body.");
  }
  body_ = Body(&set_.budget(), static_cast<std::size_t>(length));
  responder_ = set_.service().begin(*this);
  if (!responder_) return refuse(500, "internal_error", "The request could not be started; try again.");
  ++set_.busy_;
  if (!head_.has_body()) phase_ = Phase::exchange;
  responder_->on_head();
  if (phase_ == Phase::exchange) request_complete();
}

void ServerConnection::request_complete() noexcept {
  body_.seal();
  phase_ = Phase::exchange;
  responder_->on_request();
}

std::size_t ServerConnection::take_body_bytes(std::string_view input) noexcept {
  if (head_.chunked) return take_chunks(input);
  const std::size_t missing = static_cast<std::size_t>(*head_.content_length) - body_.size();
  const std::string_view part = input.substr(0, missing);
  body_ok(body_.append(part));
  return part.size();
}

std::size_t ServerConnection::take_chunks(std::string_view input) noexcept {
  std::size_t used = 0;
  while (phase_ == Phase::body) {
    const std::string_view rest = input.substr(used);
    const ChunkedDecoder::Step step = chunks_.next({rest.data(), rest.size()});
    used += step.consumed;
    switch (step.event) {
      case ChunkedDecoder::Event::data:
        // What the chunk announces counts before it is there: nobody waits for a chunk of 2^64-1 bytes.
        if (body_.size() + step.data.size() > set_.limits().max_body ||
            chunks_.chunk_remaining() > set_.limits().max_body - body_.size() - step.data.size()) {
          refuse(413, "request_body_too_large", "The request's body is longer than this server's max_body.");
        } else {
          body_ok(body_.append({step.data.data(), step.data.size()}));
        }
        break;
      case ChunkedDecoder::Event::trailer: break;  // of requests they are not passed on
      case ChunkedDecoder::Event::done: request_complete(); return used;
      case ChunkedDecoder::Event::error: refuse(400, "malformed_body", chunks_.error()); return used;
      case ChunkedDecoder::Event::need_more:
        if (chunks_.chunk_remaining() >
            set_.limits().max_body - std::min<std::uint64_t>(body_.size(), set_.limits().max_body))
          refuse(413, "request_body_too_large", "The request's body is longer than this server's max_body.");
        return input.size();
    }
  }
  return used;
}

bool ServerConnection::body_ok(Body::Status status) noexcept {
  if (status == Body::Status::ok) return true;
  refuse(503, "body_budget_exhausted",
         "The server holds as many request bodies as it may; try again in a moment.");
  return false;
}

// There are as many connections as may be. Closing at once could destroy the answer when the request comes,
// but only few may stay for that.
void ServerConnection::turn_away(bool lingering) noexcept {
  ++set_.refused_;
  refuse(503, "too_many_connections", "The gateway has as many connections as it may; try again.");
  if (!lingering) close(Gone::quietly);
}

// Answers for the application, which has not seen the request or not all of it, and closes.
void ServerConnection::refuse(int status, std::string_view code, std::string_view message) noexcept {
  const std::unique_ptr<Responder>& begun = responder_;
  if (begun && output_.started()) return client_gone();  // its response is half out: too late for another
  std::unique_ptr<Responder> responder = take_responder();
  set_.service().on_protocol_error(status, code, peer_);

  const std::string body = set_.service().error_body(status, code, message);
  keep_alive_ = false;
  ResponseOutput::Head head;
  head.status = status;
  head.block = status == 503 ? "Content-Type: application/json\r\nRetry-After: 1\r\n"
                             : "Content-Type: application/json\r\n";
  head.framing = Framing::fixed(body.size());
  head.date_line = set_.date_line();
  head.head_request = head_.method == "HEAD";
  head.keep_alive = false;
  output_.begin(head);
  const iovec one{const_cast<char*>(body.data()), body.size()};
  wrote(output_.end(std::span<const iovec>(&one, 1), {}));
  phase_ = Phase::body;  // what is unread is not looked at: ended() makes it a lingering close
  ended();
  if (!responder) return;
  responder->on_refused(status, code);
  loop().defer_delete(std::move(responder));
}

}  // namespace tidegate::http
