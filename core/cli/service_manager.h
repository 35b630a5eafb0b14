// What: tells the service manager how the process is: ready, reloading, stopping, and alive at the pace that
// its
//   watchdog asks for. The protocol is sd_notify(3)'s: datagrams of VARIABLE=VALUE lines to the socket that
//   the environment names. Threads: one. Ownership: owns its socket.
// Errors: none; without a service manager, or when it does not listen, nothing happens.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "http/listener.h"

namespace tidegate::cli {

class ServiceManager {
 public:
  ServiceManager();  // from NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which children do not get

  void ready(std::string_view status) { say("READY=1\nSTATUS=" + std::string(status)); }
  void reloading();  // until the next ready()
  void stopping() { say("STOPPING=1"); }
  void alive() { say("WATCHDOG=1"); }
  // How often alive() is wanted: half of what the watchdog allows. 0: it is off.
  std::chrono::milliseconds watchdog_pace() const noexcept { return pace_; }

 private:
  void say(std::string_view what);

  http::UniqueFd socket_;
  std::string address_;  // '@' at its start stands for the abstract namespace
  std::chrono::milliseconds pace_{0};
};

}  // namespace tidegate::cli
