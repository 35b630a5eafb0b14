// What: a whole simulated engine on a loop: listener, connections, service.
// Threads: the loop's; set it up before the loop runs.
// Ownership: borrows the loop, owns the rest. Destroy it before the loop.
// Errors: open() throws with the address when it can't listen.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/service.h"
#include "http/buffer.h"
#include "http/server.h"

namespace tidegate::engine {

class EngineServer {
 public:
  EngineServer(http::EventLoop& loop, EngineOptions options);

  void open(const std::string& address);  // "127.0.0.1:9001"; port 0: any
  std::uint16_t port() const { return port_; }

  // Stops accepting, lets running answers end; `done` comes when the last has. end() cuts them off.
  void drain(std::function<void()> done);
  void end();

  EngineService& service() { return service_; }
  http::ConnectionSet& connections() { return connections_; }

 private:
  void listen();
  void refuse(bool on);

  http::EventLoop& loop_;
  http::BodyBudget budget_;
  EngineService service_;
  http::ConnectionSet connections_;
  std::string host_;
  std::uint16_t port_ = 0;
  std::optional<http::Listener> listener_;  // none while connections are refused
};

}  // namespace tidegate::engine
