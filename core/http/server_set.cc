#include "http/server_set.h"

#include <memory>
#include <utility>
#include <vector>

namespace tidegate::http {

ConnectionSet::ConnectionSet(EventLoop& loop, Service& service, BodyBudget& budget, ServerLimits limits)
    : loop_(loop), service_(service), budget_(budget), limits_(limits) {}

ConnectionSet::~ConnectionSet() {
  drained_ = nullptr;
  force_close();
}

void ConnectionSet::on_accept(UniqueFd fd, const PeerAddress& peer) noexcept {
  ++accepted_;
  auto connection = std::make_unique<ServerConnection>(*this, std::move(fd), peer);
  connection->admitted_ = cap_ == nullptr || cap_->take();
  if (!connection->admitted_) ++turned_away_;
  if (!connection->open()) {
    ++refused_;
    return leave(*connection);
  }
  ServerConnection* added = connection.release();  // deleted by way of gone()
  added->next_ = first_;
  if (first_ != nullptr) first_->link_ = &added->next_;
  added->link_ = &first_;
  first_ = added;
  ++connections_;
  if (!added->admitted_) added->turn_away(turned_away_ <= max_turned_away);
}

void ConnectionSet::leave(ServerConnection& connection) noexcept {
  if (!connection.admitted_) {
    --turned_away_;
  } else if (cap_ != nullptr) {
    cap_->give_back();
  }
}

void ConnectionSet::gone(ServerConnection& connection) noexcept {
  *connection.link_ = connection.next_;
  if (connection.next_ != nullptr) connection.next_->link_ = connection.link_;
  --connections_;
  leave(connection);
  loop_.defer_delete(std::unique_ptr<Deferred>(&connection));
  if (draining_ && connections_ == 0 && drained_) std::exchange(drained_, nullptr)();
}

void ConnectionSet::drain(std::function<void()> drained) {
  draining_ = true;
  drained_ = std::move(drained);
  // Closing unlinks; memory stays until the end of the batch.
  std::vector<ServerConnection*> all;
  all.reserve(connections_);
  for (ServerConnection* at = first_; at != nullptr; at = at->next_) all.push_back(at);
  for (ServerConnection* connection : all) {
    if (connection->phase_ != ServerConnection::Phase::closed) connection->retire();
  }
  if (connections_ == 0 && drained_) std::exchange(drained_, nullptr)();
}

void ConnectionSet::force_close(const std::function<void(ServerConnection&, Responder&)>& last_words) {
  std::vector<ServerConnection*> all;
  all.reserve(connections_);
  for (ServerConnection* at = first_; at != nullptr; at = at->next_) all.push_back(at);
  for (ServerConnection* connection : all) {
    if (connection->phase_ == ServerConnection::Phase::closed) continue;
    if (last_words && connection->responder_) last_words(*connection, *connection->responder_);
    connection->close_now();
  }
}

std::string_view ConnectionSet::date_line() noexcept {
  const std::time_t now = std::time(nullptr);
  if (now != date_at_) {
    date_at_ = now;
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    // Names of days and months as the C locale has them: the process never sets another.
    date_length_ = std::strftime(date_, sizeof date_, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
  }
  return {date_, date_length_};
}

}  // namespace tidegate::http
