#include "engine/engine_server.h"

#include <exception>
#include <utility>

#include <Poco/Net/SocketAddress.h>

namespace tidegate::engine {

namespace {

// An engine trusts its gateway: large prompts, long silences.
http::ServerLimits limits() {
  http::ServerLimits limits;
  limits.max_body = 256 * 1024 * 1024;
  limits.idle_timeout = 0;
  limits.write_timeout = 0;
  return limits;
}

}  // namespace

EngineServer::EngineServer(http::EventLoop& loop, EngineOptions options)
    : loop_(loop), service_(loop, std::move(options)), connections_(loop, service_, budget_, limits()) {
  service_.on_refuse([this](bool on) { refuse(on); });
}

void EngineServer::open(const std::string& address) {
  const Poco::Net::SocketAddress at(address);
  host_ = at.host().toString();
  port_ = at.port();
  listen();
  if (service_.options().id.empty()) service_.set_id(host_ + ":" + std::to_string(port_));
  if (service_.faults().refuse) service_.set_faults(service_.faults());
}

void EngineServer::listen() {
  listener_.emplace(loop_, connections_);
  listener_->open(Poco::Net::SocketAddress(host_, port_));
  port_ = listener_->port();
}

void EngineServer::refuse(bool on) {
  if (on) {
    listener_.reset();
    return;
  }
  try {
    listen();
  } catch (const std::exception&) {
    listener_.reset();  // somebody else has taken the port: still refused, and the next change tries again
  }
}

void EngineServer::drain(std::function<void()> done) {
  if (listener_) listener_->close();
  connections_.drain(std::move(done));
}

void EngineServer::end() {
  if (listener_) listener_->close();
  connections_.force_close();
}

}  // namespace tidegate::engine
