// bare_relay: the honest floor of the comparison. Accepts, opens one backend connection for each client
// connection, keeps it, and copies bytes both ways with one epoll a thread. It parses nothing, so what a
// proxy costs above it is the price of understanding HTTP. Either side's end ends the pair, once what was
// read is sent.
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net.h"

namespace tidegate::bench {
namespace {

struct Pair;

struct Side {
  Fd fd;
  Side* peer = nullptr;
  Pair* pair = nullptr;
  std::string unsent;  // read from the peer, refused by this socket
  std::uint32_t watched = EPOLLIN;
};

struct Pair {
  Side client;
  Side backend;
  bool ending = false;  // one side has ended: close when nothing is unsent
  bool dead = false;
};

class Relay {
 public:
  Relay(const Endpoint& listen, Endpoint backend)
      : listener_(listen_on(listen)), backend_(std::move(backend)) {
    poller_.add(listener_.get(), EPOLLIN, nullptr);
  }

  [[noreturn]] void run() {
    for (;;) {
      for (const epoll_event& event : poller_.wait(kForever)) {
        if (event.data.ptr == nullptr) {
          accept_all();
        } else {
          serve(*static_cast<Side*>(event.data.ptr), event.events);
        }
      }
      graves_.clear();  // only now: events of the same batch may point into a dead pair
    }
  }

 private:
  void accept_all() {
    while (Fd client = accept_from(listener_)) {
      Fd backend = connect_to(backend_);
      if (!backend) continue;
      auto* pair = new Pair;
      pair->client = Side{std::move(client), &pair->backend, pair, {}, EPOLLIN};
      pair->backend = Side{std::move(backend), &pair->client, pair, {}, EPOLLIN};
      poller_.add(pair->client.fd.get(), EPOLLIN, &pair->client);
      poller_.add(pair->backend.fd.get(), EPOLLIN, &pair->backend);
    }
  }

  void serve(Side& side, std::uint32_t events) {
    Pair& pair = *side.pair;
    if (pair.dead) return;
    if ((events & EPOLLOUT) != 0) flush(side);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && side.peer->unsent.empty()) copy(side);
    if (pair.ending && pair.client.unsent.empty() && pair.backend.unsent.empty()) bury(pair);
  }

  // One read and one write an event; level-triggered epoll brings us back for more.
  void copy(Side& from) {
    const ssize_t got = ::recv(from.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      from.pair->ending = true;
      return;
    }
    const auto size = static_cast<std::size_t>(got);
    const ssize_t sent = ::send(from.peer->fd.get(), buffer_.data(), size, MSG_NOSIGNAL);
    if (sent == got) return;
    if (sent < 0 && errno != EAGAIN) {
      from.pair->ending = true;
      return;
    }
    const std::size_t taken = sent < 0 ? 0 : static_cast<std::size_t>(sent);
    from.peer->unsent.assign(buffer_.data() + taken, size - taken);
    watch(*from.peer, from.peer->watched | EPOLLOUT);
    watch(from, from.watched & ~std::uint32_t{EPOLLIN});
  }

  void flush(Side& side) {
    const ssize_t sent = ::send(side.fd.get(), side.unsent.data(), side.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) bury(*side.pair);
      return;
    }
    side.unsent.erase(0, static_cast<std::size_t>(sent));
    if (!side.unsent.empty()) return;
    watch(side, side.watched & ~std::uint32_t{EPOLLOUT});
    if (!side.pair->ending) watch(*side.peer, side.peer->watched | EPOLLIN);
  }

  void watch(Side& side, std::uint32_t events) {
    if (side.watched == events) return;
    side.watched = events;
    poller_.change(side.fd.get(), events, &side);
  }

  void bury(Pair& pair) {
    if (pair.dead) return;
    pair.dead = true;
    pair.client.fd.reset();
    pair.backend.fd.reset();
    graves_.emplace_back(&pair);
  }

  Fd listener_;
  Endpoint backend_;
  Poller poller_;
  std::array<char, 64 * 1024> buffer_{};
  std::vector<std::unique_ptr<Pair>> graves_;
};

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  namespace bench = tidegate::bench;
  CLI::App app("Relays bytes between clients and one backend, and parses nothing.");
  std::string listen;
  std::string backend;
  unsigned threads = 2;
  app.add_option("--listen", listen, "address to listen on, like 127.0.0.1:8080")->required();
  app.add_option("--backend", backend, "address of the backend")->required();
  app.add_option("--threads", threads, "event loops")->check(CLI::Range(1, 64));
  CLI11_PARSE(app, argc, argv);
  bench::raise_descriptor_limit();
  bench::ignore_sigpipe();
  try {
    std::vector<std::unique_ptr<bench::Relay>> relays;
    for (unsigned i = 0; i < threads; ++i) {
      relays.push_back(
          std::make_unique<bench::Relay>(bench::parse_endpoint(listen), bench::parse_endpoint(backend)));
    }
    std::vector<std::jthread> loops;
    for (auto& relay : relays) loops.emplace_back([&relay] { relay->run(); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bare_relay: %s\n", error.what());
    return 1;
  }
}
