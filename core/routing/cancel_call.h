// What: a leg's cancel action on its way: one small request to a worker, whose answer nobody waits for.
// Threads: its loop's.
// Ownership: owned by the IoContext's list until it is done.
// Errors: none; a worker that does not take it has at least seen its connection close.
#pragma once

#include <string_view>

#include "fleet/worker.h"
#include "http/event_loop.h"
#include "http/upstream.h"

namespace tidegate::routing {

struct IoContext;

class CancelCall final : public http::Deferred, private http::UpstreamClient {
 public:
  static void send(IoContext& io, const fleet::Worker& worker, std::string_view method, std::string_view path,
                   std::string_view body) noexcept;
  explicit CancelCall(IoContext& io) noexcept : io_(io) {}

 private:
  void on_response_head(const http::ResponseHead&, http::BodyKind) noexcept override {}
  void on_response_body(const http::BodyPart&) noexcept override {}
  void on_response_end() noexcept override { done(); }
  void on_fault(http::UpstreamFault, std::string_view) noexcept override { done(); }
  void done() noexcept;

  IoContext& io_;
  std::string body_;
  iovec piece_{};
};

}  // namespace tidegate::routing
