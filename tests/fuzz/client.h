// What: a client's side: requests queued, mutated, sent in cuts; what came back, read when the program lets
// it. Threads: one. Ownership: values. Errors: none; what it has got is judged by the scene.
#pragma once

#include <cstdint>
#include <string>

#include "gateway.h"
#include "input.h"
#include "reader.h"
#include "wire.h"

namespace tidegate::fuzz {

class Client {
 public:
  // `tcp`: over the loopback device, else a pair of Unix sockets. `small`: little room in the kernel.
  Client(unsigned number, Gateway& gateway, EnginePort& front, bool tcp, bool small);

  void queue_request(Input& input);
  void mutate(Input& input);
  void send(std::size_t most);
  void read() {
    if (!paused) socket.receive(1 << 20);
  }

  Socket socket;
  RequestReader asked{false};  // what has been written whole
  bool paused = false;
  bool left = false;     // has closed or half closed
  bool mutated = false;  // from here on only the reader knows what it asks
  std::string queue;

 private:
  unsigned number_, requests_ = 0;
  std::string sent_;
};

}  // namespace tidegate::fuzz
