#include "plugin/host_http.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <Poco/Net/HTTPClientSession.h>
#include <Poco/Net/HTTPRequest.h>
#include <Poco/Net/HTTPResponse.h>
#include <Poco/Net/StreamSocketImpl.h>

#include "plugin/host.h"
#include "plugin/host_http_connection.h"
#include "plugin/host_http_request.h"
#include "plugin/host_http_tls.h"
#include "plugin/thread_cell.h"

namespace tidegate::plugin {
namespace {

constexpr std::size_t max_line_bytes = 1024;  // of a chunk's head
constexpr int max_trailer_lines = 100;
constexpr int max_interim_replies = 16;

// Poco's session writes and reads through this: every wait below it knows the stop token and the limit.
class Wire final : public Poco::Net::StreamSocketImpl {
 public:
  Wire(const HttpRequest& request, Patience& patience)
      : plain_(request.host, request.port, request.origin, patience) {
    reset(plain_.hand_over());  // the session asks its socket whether there is a descriptor
    if (request.secure) tls_.emplace(plain_, request.tls);
  }
  using SocketImpl::receiveBytes;
  using SocketImpl::sendBytes;
  int sendBytes(const void* bytes, int size, int) override {
    const std::string_view view(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
    tls_ ? tls_->send(view) : plain_.send(view);
    return size;
  }
  int receiveBytes(void* to, int size, int) override {
    char* at = static_cast<char*>(to);
    const auto room = static_cast<std::size_t>(size);
    const std::size_t n = tls_ ? tls_->receive(at, room) : plain_.receive(at, room);
    ended_ = ended_ || n == 0;
    return static_cast<int>(n);
  }
  void close() override {}  // the descriptor is closed with this, after the end of TLS
  bool ended() const noexcept { return ended_; }

 private:
  PlainConnection plain_;
  std::optional<TlsConnection> tls_;
  bool ended_ = false;
};

struct WireSocket : Poco::Net::StreamSocket {
  explicit WireSocket(Wire* wire) : StreamSocket(wire) {}
};

// Poco writes the request and reads the head. The body's framing is read here: Poco takes a damaged or cut
// chunk for the end, and a watch must not take half an event for the whole.
class Exchange final : public Poco::Net::HTTPClientSession {
 public:
  Exchange(const HttpRequest& request, Patience& patience) : Exchange(request, new Wire(request, patience)) {}

  void send();
  void receive_head();
  const Poco::Net::HTTPResponse& head() const noexcept { return head_; }
  std::optional<std::uint64_t> length() const noexcept {
    return framing_ == Framing::length ? std::optional(left_) : std::nullopt;
  }
  std::string_view next();  // bytes of the body as they come; empty: the end

 private:
  enum class Framing { none, length, chunked, close };
  Exchange(const HttpRequest& request, Wire* wire)
      : HTTPClientSession(WireSocket(wire)), wire_(*wire), request_(request) {}
  void begin_body();
  std::string_view some(std::uint64_t limit);
  std::string line();
  void next_chunk();
  [[noreturn]] void bad(const std::string& expected, const std::string& found) const;

  Wire& wire_;  // the session's socket owns it
  const HttpRequest& request_;
  Poco::Net::HTTPResponse head_;
  Framing framing_ = Framing::none;
  std::uint64_t left_ = 0;  // of the body, or of the chunk
  bool first_chunk_ = true;
  std::array<char, 16 * 1024> bytes_;
};

void Exchange::bad(const std::string& expected, const std::string& found) const {
  throw HttpFailure(TG_E_UNAVAILABLE, "reply of " + request_.origin + ": expected " + expected + ", found " +
                                          found + "; check the server, or try again");
}

void Exchange::send() {
  Poco::Net::HTTPRequest out(request_.method, request_.target, Poco::Net::HTTPMessage::HTTP_1_1);
  for (const auto& [name, value] : request_.headers) out.add(name, value);
  if (!request_.authorization.empty()) out.add("Authorization", request_.authorization.text());
  const bool has_body = !request_.body.empty() || request_.method == "POST" || request_.method == "PUT" ||
                        request_.method == "PATCH";
  if (has_body) out.setContentLength64(static_cast<Poco::Int64>(request_.body.size()));
  sendRequest(out).write(request_.body.data(), static_cast<std::streamsize>(request_.body.size()));
  flushRequest();
}

void Exchange::receive_head() {
  for (int i = 0; i < max_interim_replies; ++i) {
    try {
      receiveResponse(head_);
    } catch (const HttpFailure&) {
      throw;
    } catch (const Poco::Exception& e) {
      bad("an HTTP/1.1 head",
          wire_.ended() ? "the end of the connection" : "a malformed one (" + e.displayText() + ")");
    }
    if (networkException()) networkException()->rethrow();
    if (wire_.ended()) bad("an HTTP/1.1 head", "the end of the connection within it");
    if (head_.getStatus() >= 200 || head_.getStatus() == 101) return begin_body();
  }
  bad("a final status", "only interim ones");
}

void Exchange::begin_body() {
  const int status = head_.getStatus();
  if (request_.method == "HEAD" || status < 200 || status == 204 || status == 304) return;
  if (head_.has("Transfer-Encoding")) {
    if (!head_.getChunkedTransferEncoding()) bad("the transfer coding chunked", "another");
    framing_ = Framing::chunked;
  } else if (head_.hasContentLength()) {
    framing_ = Framing::length;
    const std::string text = head_.get("Content-Length");
    if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
      bad("a number as Content-Length", "another text");
    left_ = std::stoull(text);
  } else {
    framing_ = Framing::close;
  }
}

std::string_view Exchange::some(std::uint64_t limit) {
  const auto room = static_cast<std::streamsize>(std::min<std::uint64_t>(limit, bytes_.size()));
  const int n = read(bytes_.data(), room);
  return {bytes_.data(), static_cast<std::size_t>(n)};
}

std::string Exchange::line() {
  std::string out;
  for (;;) {
    const int c = get();  // a byte 0xff reads as the end here, and neither may stand in framing
    if (c < 0) bad("the chunked body to its end", "a cut or damaged one");
    if (c == '\n') break;
    if (out.size() == max_line_bytes) bad("a short line of chunked framing", "a longer one");
    out.push_back(static_cast<char>(c));
  }
  if (!out.empty() && out.back() == '\r') out.pop_back();
  return out;
}

void Exchange::next_chunk() {
  if (!first_chunk_ && !line().empty()) bad("a line end behind a chunk", "more bytes");
  first_chunk_ = false;
  const std::string head = line();
  const std::size_t digits = std::min(head.find_first_not_of("0123456789abcdefABCDEF"), head.size());
  if (digits == 0 || digits > 15 ||
      (digits < head.size() && std::string_view("; \t").find(head[digits]) == std::string_view::npos))
    bad("a chunk's length", "another text");
  left_ = std::stoull(head.substr(0, digits), nullptr, 16);
  if (left_ != 0) return;
  framing_ = Framing::none;
  for (int i = 0; i < max_trailer_lines; ++i)
    if (line().empty()) return;
  bad("at most " + std::to_string(max_trailer_lines) + " trailers", "more");
}

std::string_view Exchange::next() {
  if (framing_ == Framing::chunked && left_ == 0) next_chunk();
  if (framing_ == Framing::none || (framing_ == Framing::length && left_ == 0)) return {};
  if (framing_ == Framing::close) return some(std::numeric_limits<std::uint64_t>::max());
  const std::string_view got = some(left_);
  if (got.empty()) bad(std::to_string(left_) + " more bytes of the body", "the end of the connection");
  left_ -= got.size();
  return got;
}

// What the callbacks see of the head.
class Reply {
 public:
  explicit Reply(const Poco::Net::HTTPResponse& head) {
    for (const auto& [name, value] : head) headers_.push_back({to_str(name), to_str(value)});
    abi_.size = sizeof abi_;
    abi_.status = static_cast<std::uint32_t>(head.getStatus());
    abi_.header_count = static_cast<std::uint32_t>(headers_.size());
    abi_.headers = headers_.data();
  }
  const tg_http_reply* with(std::string_view body) noexcept {
    abi_.body = to_str(body);
    return &abi_;
  }

 private:
  std::vector<tg_kv> headers_;  // into the head
  tg_http_reply abi_{};
};

[[noreturn]] void too_long(const HttpRequest& request) {
  throw HttpFailure(TG_E_LIMIT, "reply of " + request.origin + ": expected a body of at most " +
                                    std::to_string(request.max_body) +
                                    " bytes, found a longer one; raise max_body or ask for less");
}

// Runs an exchange; no exception leaves.
template <class Fn>
tg_status guarded(const tg_host* host, const tg_http_call* call, bool callbacks, tg_error* error,
                  Fn&& fn) noexcept {
  try {
    if (!host || !call || !callbacks)
      return set_error(error, TG_E_INVALID, "",
                       "expected a host, a call and callbacks, found NULL; give them all");
    if (InstanceHost::of(host).environment().on_control_thread())
      return set_error(
          error, TG_E_INVALID, "",
          "expected a call from run(), found one on the control thread, which must not wait for a "
          "network; call from run() or a thread of your own");
    if (const Function inside = inside_function(this_thread().inside.load(std::memory_order_relaxed));
        is_request_call(inside))
      return set_error(
          error, TG_E_INVALID, "",
          std::string("expected a call from run(), found one from inside ") + function_name(inside) +
              "() on a thread that serves requests, which must not wait for a network; call from "
              "run() or a thread of your own");
    fn(read_request(*call));
    return TG_OK;
  } catch (const HttpFailure& e) {
    return set_error(error, e.status(), "", e.message());
  } catch (const Poco::Exception& e) {
    return set_error(error, TG_E_UNAVAILABLE, "", "expected an HTTP exchange, found: " + e.displayText());
  } catch (const std::exception& e) {
    return set_error(error, TG_E_INTERNAL, "", e.what());
  } catch (...) {
    return set_error(error, TG_E_INTERNAL, "",
                     "expected a callback that returns, found one that threw; catch in it");
  }
}

tg_status call(const tg_host* host, const tg_http_call* call, const tg_stop* stop,
               void (*on_reply)(void*, const tg_http_reply*), void* arg, tg_error* error) {
  return guarded(host, call, on_reply != nullptr, error, [&](const HttpRequest& request) {
    Patience patience(stop, request.timeout_ms, Patience::Limit::whole);
    Exchange exchange(request, patience);
    exchange.send();
    exchange.receive_head();
    if (exchange.length().value_or(0) > request.max_body) too_long(request);
    std::string body;
    for (std::string_view got; !(got = exchange.next()).empty();) {
      if (got.size() > request.max_body - body.size()) too_long(request);
      body.append(got);
    }
    on_reply(arg, Reply(exchange.head()).with(body));
  });
}

tg_status stream(const tg_host* host, const tg_http_call* call, const tg_stop* stop,
                 bool (*on_head)(void*, const tg_http_reply*), bool (*on_data)(void*, tg_str), void* arg,
                 tg_error* error) {
  return guarded(host, call, on_head && on_data, error, [&](const HttpRequest& request) {
    Patience patience(stop, request.timeout_ms, Patience::Limit::silence);
    Exchange exchange(request, patience);
    exchange.send();
    exchange.receive_head();
    bool wanted = on_head(arg, Reply(exchange.head()).with({}));
    while (wanted) {
      patience.progress();  // the callback's time is not the server's silence
      const std::string_view got = exchange.next();
      if (got.empty()) return;
      wanted = on_data(arg, to_str(got));
    }
  });
}

}  // namespace

const tg_host_http http_service = {
    .size = sizeof(tg_host_http), .reserved = 0, .call = call, .stream = stream};

}  // namespace tidegate::plugin
