#include "http/upstream.h"

#include <algorithm>
#include <utility>

#include "http/upstream_connection.h"

namespace tidegate::http {

std::string_view fault_name(UpstreamFault fault) noexcept {
  switch (fault) {
    case UpstreamFault::connect_failed: return "connect_failed";
    case UpstreamFault::connect_timeout: return "connect_timeout";
    case UpstreamFault::no_descriptor: return "no_descriptor";
    case UpstreamFault::reset: return "reset";
    case UpstreamFault::bad_response: return "bad_response";
    case UpstreamFault::first_byte_timeout: return "first_byte_timeout";
    case UpstreamFault::idle_timeout: return "idle_timeout";
    case UpstreamFault::cut_short: return "cut_short";
  }
  return "unknown";
}

UpstreamConnection* UpstreamPool::State::take_idle(std::uint32_t key, std::uint32_t generation) {
  if (key >= idle.size()) return nullptr;
  auto& list = idle[key];
  while (!list.empty()) {
    UpstreamConnection* connection = list.back();
    if (connection->generation() == generation && connection->usable()) {
      list.pop_back();
      --idle_count;
      return connection;
    }
    connection->close();  // of an earlier worker in this slot, or ended
  }
  return nullptr;
}

void UpstreamPool::State::put_idle(UpstreamConnection& connection) noexcept {
  const std::uint32_t key = connection.key_;
  if (idle.size() <= key) idle.resize(key + 1);
  idle[key].push_back(&connection);
  ++idle_count;
  count();
}

void UpstreamPool::State::forget_idle(UpstreamConnection& connection) noexcept {
  auto& list = idle[connection.key_];
  auto at = std::find(list.begin(), list.end(), &connection);
  if (at == list.end()) return;
  list.erase(at);
  --idle_count;
}

void UpstreamPool::State::retire(UpstreamConnection& connection) noexcept {
  auto at = std::find(all.begin(), all.end(), &connection);
  if (at == all.end()) return;
  *at = all.back();
  all.pop_back();
  count();
  if (!closing) loop.defer_delete(std::unique_ptr<Deferred>(&connection));
}

// At the limit an idle connection of any worker makes way; busy ones never do.
bool UpstreamPool::State::make_room() noexcept {
  return all.size() <= limits.max_connections || close_one_idle();  // the new one is among them
}

bool UpstreamPool::State::close_one_idle() noexcept {
  for (auto& list : idle) {
    if (list.empty()) continue;
    list.front()->close();
    return true;
  }
  return false;
}

UpstreamPool::UpstreamPool(EventLoop& loop, UpstreamLimits limits)
    : state_(std::make_unique<State>(loop, limits)) {}

UpstreamPool::~UpstreamPool() {
  state_->closing = true;
  auto all = state_->all;
  for (UpstreamConnection* connection : all) {
    connection->client_ = nullptr;
    connection->close();
    delete connection;
  }
}

UpstreamCall* UpstreamPool::start(std::uint32_t key, std::uint32_t generation,
                                  const Poco::Net::SocketAddress& address, const UpstreamRequest& request,
                                  UpstreamClient& client) {
  UpstreamConnection* connection = state_->take_idle(key, generation);
  if (!connection) {
    connection = new UpstreamConnection(*state_, key, generation, address);
    state_->all.push_back(connection);
  }
  connection->begin(request, client);
  state_->count();
  return connection;
}

void UpstreamPool::close_idle() noexcept {
  for (auto& list : state_->idle)
    while (!list.empty()) list.back()->close();
}

void UpstreamPool::set_limits(const UpstreamLimits& limits) noexcept { state_->limits = limits; }

UpstreamStats UpstreamPool::stats() const noexcept {
  auto get = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
  return {get(state_->opened), get(state_->reused), get(state_->resent), get(state_->busy_now),
          get(state_->idle_now)};
}

}  // namespace tidegate::http
