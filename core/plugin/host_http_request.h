// What: a tg_http_call, checked and copied: where to connect, what to send, how to verify. And HttpFailure,
//   by which everything below tg.host.http/1 ends an exchange.
// Threads: none; a value of the calling thread.
// Ownership: owns all but `body`, which is the caller's for the call. Key and token are wiped at the end.
// Errors: read_request throws HttpFailure: TG_E_INVALID for a bad argument, TG_E_NOT_FOUND for a file that
//   cannot be read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <Poco/Net/NetException.h>
#include <tidegate/host.h>

namespace tidegate::plugin {

// A Poco exception because it travels through Poco's HTTP session, which keeps a clone and throws it again.
class HttpFailure final : public Poco::Net::NetException {
 public:
  HttpFailure(tg_status status, const std::string& text) : NetException(text), status_(status) {}
  HttpFailure* clone() const override { return new HttpFailure(*this); }
  void rethrow() const override { throw *this; }
  tg_status status() const noexcept { return status_; }

 private:
  tg_status status_;
};

// Text that is wiped when it goes.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(SecretText&& other) noexcept { text_.swap(other.text_); }
  SecretText& operator=(SecretText&& other) noexcept {
    text_.swap(other.text_);
    return *this;
  }
  ~SecretText();
  const std::string& text() const noexcept { return text_; }
  bool empty() const noexcept { return text_.empty(); }

 private:
  std::string text_;
};

struct TlsRequest {
  std::uint32_t verify = TG_TLS_STRICT;
  std::string server_name;          // for SNI and the check of the host name
  std::vector<std::string> ca_pem;  // none: the system's
  std::string client_cert_pem;
  SecretText client_key_pem;
};

struct HttpRequest {
  bool secure = false;
  std::string host;  // IPv6 without brackets
  std::uint16_t port = 0;
  std::string origin;  // scheme://host:port, for texts
  std::string target;  // path and query as they stood in the url
  std::string method;
  std::vector<std::pair<std::string, std::string>> headers;  // Host included
  SecretText authorization;                                  // empty: none
  std::string_view body;
  TlsRequest tls;
  std::uint32_t timeout_ms = 0;
  std::uint64_t max_body = 0;
};

HttpRequest read_request(const tg_http_call&);

}  // namespace tidegate::plugin
