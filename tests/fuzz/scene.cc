// The program: set-up, steps, and the way to the end. The oracle stands in judge.cc.
#include "scene.h"

#include <chrono>
#include <filesystem>
#include <thread>

namespace tidegate::fuzz {
namespace {

constexpr unsigned max_clients = 6, max_steps = 400;

// What these bits shorten makes requests fail.
constexpr bool gentle(std::uint8_t b) { return (b & (4 | 8 | 16)) == 0 && (b & 129) != 1; }

Limits limits_of(std::uint8_t b) {
  Limits limits;
  limits.server.pipeline_bytes = 2048;
  limits.server.linger_timeout = 5;
  limits.server.max_body = (b & 129) == 1 ? 2000 : 2'000'000;
  limits.server.out_high_water = b & 2 ? 512 : 16'384;
  if (b & 4) limits.server.header_timeout = limits.server.body_timeout = limits.server.write_timeout = 3;
  if (b & 8) limits.body_budget = 4000;
  limits.upstream.max_connections = b & 16 ? 2 : 64;
  limits.upstream.keep_alive_idle_ms = b & 32 ? 1 : 4000;
  limits.upstream.max_idle_per_worker = b & 64 ? 1 : 8;
  return limits;
}

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

}  // namespace

Scene::Scene(Ground& ground, EnginePort& front, Reached& reached)
    : ground_(ground), front_(front), reached_(reached) {}

void Scene::play(std::span<const std::uint8_t> program) {
  Input input(program);
  const auto descriptors = open_descriptors();
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
  if (budget_->used() != 0)
    throw Failure("bodies are left in the budget: " + std::to_string(budget_->used()));
  if (const auto now = open_descriptors(); now != descriptors)
    throw Failure("descriptors are left: " + std::to_string(now) + " after " + std::to_string(descriptors));
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
  // One in four goes well throughout, so that everything is owed its answer.
  calm_ = (mode & 12) == 12;
  if (calm_) short_times_ = shut_down_ = closing_engines_ = false;
  const std::uint8_t limits = calm_ ? input.byte() & 0x62 : input.byte();
  const Limits bounds = limits_of(limits);
  budget_ = std::make_unique<http::BodyBudget>(bounds.body_budget);
  gateway_ = std::make_unique<Gateway>(ground_, bounds, *budget_);
  gentle_ = gentle(limits) && !short_times_ && !shut_down_ && !closing_engines_;
  ground_.environment.state = mode;
  publish(mask % 32 ? mask % 32 : 3);
  for (unsigned i = 0; i < Ground::engines; ++i) {
    Engine& engine = engines_.emplace_back(i, ground_.ports[i], journal_,
                                           [this](const Message& m, unsigned e) { judge_request(m, e); });
    const std::uint8_t b = input.byte();
    engine.style = style(b);
    engine.size = b / style_count * 91u;
  }
  clients_.emplace_back(0u, *gateway_, front_, mask & 32, mask & 64);
}

void Scene::publish(unsigned mask) {
  if (calm_ && (mask & 15) == 0) mask |= 1;
  if ((mask & 15) == 0) gentle_ = false;
  if (mask & 16) dead_worker_ = true;
  gateway_->publish(ground_.view(mask, short_times_));
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

Style Scene::style(std::uint8_t b) const {
  static constexpr Style good[] = {Style::manual, Style::length, Style::chunked, Style::close,
                                   Style::hints,  Style::events, Style::trickle, Style::length};
  return calm_ ? good[b % 8] : static_cast<Style>(b % style_count);
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
    case 4: return calm_ ? step() : c->mutate(input);
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
    case 0: engine.style = style(input.byte()); return;
    case 1:
    case 2: {
      const Style how = style(input.byte());
      const std::size_t size = std::size_t{input.byte()} * 9;
      return engine.answer(how, size, input.amount());
    }
    case 3: return engine.more(input.amount());
    case 4:
      if (!calm_) engine.close(input.byte(), input.byte());
      return;
    case 5: engine.size = std::size_t{input.byte()} * 257; return;
    case 6:
      if (calm_) {
        engine.style = input.byte() % 2 ? Style::unchanged : Style::length;
        return;
      }
      if (const std::uint8_t b = input.byte(); b % 4 == 0)
        engine.raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX");
      else
        engine.style = static_cast<Style>(style_count + b / 4 % odd_style_count);
      return;
    default: return engine.more(~std::size_t{0});
  }
}

void Scene::act_on_fleet(unsigned what, Input& input) {
  if (calm_ && (what % 8 == 1 || what % 8 == 2 || what % 8 == 4 || what % 8 == 5)) return step(1);
  switch (what % 8) {
    case 0: return publish(1 + static_cast<unsigned>(input.below(31)));
    case 1:
    case 2: gentle_ = false; return ground_.set_ready(static_cast<unsigned>(input.below(5)), what % 2 == 0);
    case 3: return gateway_->close_idle();
    case 4:
      if (input.byte() % 8 == 0) cut_all_ = true, gentle_ = false, gateway_->last_words();
      return;
    case 5:
      if (input.byte() % 8 == 0) gentle_ = false, gateway_->drain();
      return;
    case 7:
      renewed_ = true;
      return ground_.renew_graph(), publish(1 + static_cast<unsigned>(input.below(31)));
    default: return step(1);
  }
}

void Scene::step(unsigned ms) {
  gateway_->step(ms);
  for (Engine& engine : engines_) engine.serve();
  // Surplus can be told from an answer only where it comes before the next request: while nothing else
  // happens.
  for (Engine& engine : engines_) {
    if (!engine.has_surplus()) continue;
    for (unsigned i = 0; i < 4; ++i) gateway_->step();
    engine.send_surplus();
    gateway_->step();
  }
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

// Three seconds of the program's time at full speed; then at the pace of the kernel, whose TCP has timers of
// its own.
bool Scene::time_left(unsigned pass) {
  if (pass > 3000) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return pass < 5000;
}

// The engines answer well from now on, or take no more; the clients read on. Nothing may wait any longer.
void Scene::settle() {
  gentle_ = gentle_ && !journal_.bad;
  for (Engine& engine : engines_) {
    gentle_ ? engine.release() : engine.reset_all();
    engine.style = closing_engines_ ? Style::silent : Style::length;
    engine.size = 64;
  }
  for (Client& c : clients_) c.paused = false;
  for (unsigned i = 0;; ++i) {
    step(i < 20 ? 0 : 1);
    bool any = false;
    if (i % 8 == 7 || i > 20)
      for (const Client& c : clients_) any |= waiting(c);
    else
      any = true;
    if (!any) return;
    if (!time_left(i)) throw Failure("a request waits for ever: " + gateway_->what_is_left());
  }
}

void Scene::leave() {
  for (Client& c : clients_) finish_by_reset_ ? c.socket.reset() : c.socket.close_gently();
  for (unsigned i = 0; !gateway_->quiet(); ++i) {
    gateway_->step(i < 20 ? 0 : 1);
    for (Engine& engine : engines_) engine.serve();
    if (!time_left(i)) throw Failure("all clients have left, and there is left: " + gateway_->what_is_left());
  }
}

}  // namespace tidegate::fuzz
