// What: TLS over a PlainConnection: a client context from PEM in memory, handshake, bytes.
// Threads: the calling thread.
// Ownership: borrows connection and request; owns its OpenSSL objects. No key reaches a file.
// Errors: HttpFailure: TG_E_INVALID for PEM text that is none; TG_E_UNAVAILABLE for a handshake, saying which
//   check failed. What the connection throws passes through.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "plugin/host_http_connection.h"
#include "plugin/host_http_request.h"

namespace tidegate::plugin {

class TlsConnection {
 public:
  TlsConnection(PlainConnection&, const TlsRequest&);  // returns when the handshake is done
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  std::size_t receive(char* to, std::size_t size);  // 0: the peer has ended, and has said so
  void send(std::string_view bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidegate::plugin
