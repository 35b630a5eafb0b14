// The program: set-up, steps, and the way to the end. The oracle stands in judge.cc.
#include "scene.h"

#include <chrono>

namespace tidegate::fuzz {
namespace {

constexpr unsigned max_clients = 6, max_steps = 400;

Limits limits_of(Input& input) {
  const std::uint8_t b = input.byte();
  Limits limits;
  limits.server.pipeline_bytes = 2048;
  limits.server.linger_timeout = 5;
  limits.server.max_body = (b & 129) == 1 ? 2000 : 100'000;
  limits.server.out_high_water = b & 2 ? 512 : 16'384;
  if (b & 4) limits.server.header_timeout = limits.server.body_timeout = limits.server.write_timeout = 3;
  if (b & 8) limits.body_budget = 4000;
  limits.upstream.max_connections = b & 16 ? 2 : 64;
  limits.upstream.keep_alive_idle_ms = b & 32 ? 1 : 4000;
  limits.upstream.max_idle_per_worker = b & 64 ? 1 : 8;
  return limits;
}

}  // namespace

Scene::Scene(Ground& ground, EnginePort& front, Reached& reached)
    : ground_(ground), front_(front), reached_(reached) {}

void Scene::play(std::span<const std::uint8_t> program) {
  Input input(program);
  set_up(input);
  for (unsigned i = 0; i < max_steps && !input.done(); ++i) act(input);
  if (shut_down_) {
    ++reached_.mid_flight;
    gateway_.reset();
  } else {
    settle();
    judge_clients();
    leave();
    gateway_.reset();
  }
  for (Engine& engine : engines_) engine.reset_all();
  for (Client& client : clients_) client.socket.reset();
  ground_.audit();
  reached_.engine_requests += journal_.reads;
  reached_.cancels += journal_.cancels;
}

void Scene::set_up(Input& input) {
  const std::uint8_t mask = input.byte(), mode = input.byte();
  short_times_ = mode % 4 == 1;
  shut_down_ = mode % 8 == 2;
  closing_engines_ = mode & 16;
  finish_by_reset_ = mode & 32;
  ground_.renew();
  gateway_ = std::make_unique<Gateway>(ground_, limits_of(input));
  ground_.environment.state = mode;
  gateway_->publish(ground_.view(mask % 32 ? mask % 32 : 3, short_times_));
  for (unsigned i = 0; i < Ground::engines; ++i) {
    Engine& engine = engines_.emplace_back(i, ground_.ports[i], journal_,
                                           [this](const Message& m, unsigned e) { judge_request(m, e); });
    const std::uint8_t b = input.byte();
    engine.style = static_cast<Style>(b % style_count);
    engine.size = b / style_count * 91u;
  }
  clients_.emplace_back(0u, *gateway_, front_, mask & 32, mask & 64);
}

void Scene::act(Input& input) {
  const std::uint8_t op = input.byte();
  const unsigned what = op / 8;
  switch (op % 8) {
    case 0:
    case 1: return act_on_client(what, input);
    case 2:
      if (Client* c = client(input)) c->queue_request(input), c->send(~std::size_t{0});
      return;
    case 3: return act_on_engine(what, input);
    case 4: return act_on_fleet(what, input);
    case 5:
      for (unsigned i = 0; i < 1 + what / 4; ++i) step();
      return;
    case 6: return step(what % 8 == 7 ? 3 : 0);
    default:
      for (unsigned i = 0; i < 3; ++i) step();
  }
}

Client* Scene::client(Input& input) {
  const unsigned which = input.byte();
  Client& c = clients_[which % clients_.size()];
  return c.socket.open() && !c.left ? &c : nullptr;
}

void Scene::act_on_client(unsigned what, Input& input) {
  if (what % 16 == 0 && clients_.size() < max_clients) {
    const std::uint8_t b = input.byte();
    clients_.emplace_back(static_cast<unsigned>(clients_.size()), *gateway_, front_, b & 1, b & 2);
    return;
  }
  Client* c = client(input);
  if (!c) return;
  switch (what % 16) {
    case 1:
    case 2:
    case 3: return c->queue_request(input);
    case 4: return c->mutate(input);
    case 5:
    case 6:
    case 7: c->send(input.amount()); return step();
    case 8: return c->send(~std::size_t{0});
    case 9:
    case 10: c->paused = true; return;
    case 11: c->paused = false; return;
    case 12: c->socket.receive(input.amount()); return;
    case 13: c->left = true; return c->socket.fin();
    case 14: c->left = true; return c->socket.reset();
    default: return c->send(input.amount());
  }
}

void Scene::act_on_engine(unsigned what, Input& input) {
  Engine& engine = engines_[input.below(engines_.size())];
  switch (what % 8) {
    case 0: engine.style = static_cast<Style>(input.below(style_count)); return;
    case 1:
    case 2: {
      const Style style = static_cast<Style>(input.below(style_count));
      const std::size_t size = std::size_t{input.byte()} * 9;
      return engine.answer(style, size, input.amount());
    }
    case 3: return engine.more(input.amount());
    case 4: return engine.close(input.byte(), input.byte());
    case 5: engine.size = std::size_t{input.byte()} * 257; return;
    case 6:
      if (input.byte() % 4 == 0) engine.raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX");
      return;
    default: return engine.more(~std::size_t{0});
  }
}

void Scene::act_on_fleet(unsigned what, Input& input) {
  switch (what % 8) {
    case 0: return gateway_->publish(ground_.view(1 + static_cast<unsigned>(input.below(31)), short_times_));
    case 1:
    case 2: return ground_.set_ready(static_cast<unsigned>(input.below(5)), what % 2 == 0);
    case 3: return gateway_->close_idle();
    case 4:
      if (input.byte() % 8 == 0) cut_all_ = true, gateway_->last_words();
      return;
    case 5:
      if (input.byte() % 8 == 0) gateway_->drain();
      return;
    default: return step(1);
  }
}

void Scene::step(int wait_ms) {
  gateway_->step(wait_ms);
  for (Engine& engine : engines_) engine.serve();
  for (Client& c : clients_) c.read();
}

bool Scene::waiting(const Client& c) const {
  if (c.socket.ended() || c.left) return false;
  std::size_t interim = 0;
  const auto responses = read_responses(c.socket.in, false, c.asked.complete, interim);
  std::size_t whole = 0;
  for (const auto& response : responses) whole += response.whole;
  return whole < c.asked.complete.size();
}

// The engines answer well from now on, or take no more; the clients read on. Nothing may wait any longer.
void Scene::settle() {
  for (Engine& engine : engines_) {
    engine.reset_all();
    engine.style = closing_engines_ ? Style::silent : Style::length;
    engine.size = 64;
  }
  for (Client& c : clients_) c.paused = false;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  for (unsigned i = 0;; ++i) {
    step(i < 20 ? 0 : 1);
    bool any = false;
    if (i % 8 == 7 || i > 20)
      for (const Client& c : clients_) any |= waiting(c);
    else
      any = true;
    if (!any) return;
    if (std::chrono::steady_clock::now() > deadline)
      throw Failure("a request waits for ever: " + gateway_->what_is_left());
  }
}

void Scene::leave() {
  for (Client& c : clients_) finish_by_reset_ ? c.socket.reset() : c.socket.close_gently();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  for (unsigned i = 0; !gateway_->quiet(); ++i) {
    gateway_->step(i < 20 ? 0 : 1);
    for (Engine& engine : engines_) engine.serve();
    if (std::chrono::steady_clock::now() > deadline)
      throw Failure("all clients have left, and there is left: " + gateway_->what_is_left());
  }
}

}  // namespace tidegate::fuzz
