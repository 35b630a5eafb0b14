#include "routing/cancel_call.h"

#include <algorithm>

#include "routing/io_context.h"

namespace tidegate::routing {
namespace {
constexpr http::UpstreamTimeouts timeouts{2'000, 5'000, 5'000};
}

void CancelCall::send(IoContext& io, const fleet::Worker& worker, std::string_view method,
                      std::string_view path, std::string_view body) noexcept {
  auto owned = std::make_unique<CancelCall>(io);
  CancelCall& call = *owned;
  io.detached.push_back(std::move(owned));
  call.body_ = body;
  call.piece_ = {call.body_.data(), call.body_.size()};
  std::string head;
  head.append(method)
      .append(" ")
      .append(worker.endpoint().base_path)
      .append(path)
      .append(" HTTP/1.1\r\nHost: ");
  head.append(worker.endpoint().authority).append("\r\nContent-Type: application/json\r\nContent-Length: ");
  head.append(std::to_string(body.size())).append("\r\n");
  if (const auto& key = worker.endpoint().authorization; !key.empty())
    head.append("Authorization: ").append(key).append("\r\n");
  head.append("\r\n");
  http::UpstreamRequest request{
      .head = head, .body = &call.piece_, .body_count = body.empty() ? 0u : 1u, .timeouts = timeouts};
  io.pool.start(worker.slot(), worker.generation(), worker.endpoint().address, request, call);
}

void CancelCall::done() noexcept {
  auto at = std::find_if(io_.detached.begin(), io_.detached.end(),
                         [this](const auto& p) { return p.get() == this; });
  if (at == io_.detached.end()) return;
  std::unique_ptr<http::Deferred> self = std::move(*at);
  *at = std::move(io_.detached.back());
  io_.detached.pop_back();
  io_.loop.defer_delete(std::move(self));
}

}  // namespace tidegate::routing
