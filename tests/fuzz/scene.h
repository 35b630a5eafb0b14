// What: one case: a byte string read as a program of what clients, engines and time do to a gateway, and the
//   oracle over all of it.
//     1  an engine reads whole, well-formed requests only, each one that a client has written whole, byte for
//        byte or as its plan edits it, at most once an attempt, a leg and a stale connection
//     2  a client reads well-formed responses only, one a request and in order; a body that looks whole is
//     one
//        that an engine gave for this very request; a broken event stream ends in an event of its own
//     3  once the engines answer and the clients read, every whole request has its response or its
//     connection's
//        end; once the clients leave, nothing is left: no run, call, body, count, or leg without its end
//     4  where a program arranges nothing that may fail, every whole request is served; what is refused says
//     why in
//        the envelope of errors; end-to-end headers and the query pass as they are, those of a hop do not
//     5  behind a case no body is in the budget and no descriptor is open
// Threads: one. Ownership: borrows its Ground. Errors: a Failure is thrown.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>

#include "client.h"
#include "engine.h"
#include "gateway.h"
#include "input.h"

namespace tidegate::fuzz {

// What cases have reached: for people, and to tell programs worth keeping.
struct Reached {
  std::map<int, std::uint64_t> statuses;
  std::uint64_t responses = 0, cut = 0, mutated = 0, engine_requests = 0, cancels = 0, edited = 0,
                error_events = 0, unanswered = 0, owed = 0, mid_flight = 0;
};

class Scene {
 public:
  Scene(Ground& ground, EnginePort& front, Reached& reached);
  void play(std::span<const std::uint8_t> program);

 private:
  void set_up(Input& input);
  void publish(unsigned mask);
  void act(Input& input);
  void act_on_client(unsigned what, Input& input);
  void act_on_engine(unsigned what, Input& input);
  void act_on_fleet(unsigned what, Input& input);
  void step(unsigned ms = 0);
  bool time_left(unsigned pass);
  void settle();
  void leave();
  void judge_request(const Message& got, unsigned engine);
  void judge_clients();
  void judge_response(const Client& client, const Message& request, const Response& response) const;
  void judge_error(const Response& response, const Message* request) const;
  void judge_service(const Client& client, const std::vector<Response>& responses) const;
  bool waiting(const Client& client) const;
  Client* client(Input& input);
  Style style(std::uint8_t byte) const;

  Ground& ground_;
  EnginePort& front_;
  Reached& reached_;
  Journal journal_;
  std::unique_ptr<http::BodyBudget> budget_;
  std::unique_ptr<Gateway> gateway_;
  std::deque<Engine> engines_;
  std::deque<Client> clients_;
  std::map<std::string, unsigned> reads_;  // requests that engines have read, by path and body
  // Nothing was arranged that may make a request fail; a worker that refuses connections is in the view.
  bool calm_ = false, gentle_ = true, renewed_ = false, dead_worker_ = false;
  bool short_times_ = false, shut_down_ = false, finish_by_reset_ = false, cut_all_ = false;
  bool closing_engines_ = false;
};

}  // namespace tidegate::fuzz
