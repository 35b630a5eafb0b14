// What: the engines' side: connections that the gateway made, what they have been asked, and answers good and
// bad. Threads: one. Ownership: an Engine borrows its port and its journal. Errors: a Failure where a request
// is not
//   one that the client sent.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gateway.h"
#include "input.h"
#include "reader.h"
#include "wire.h"

namespace tidegate::fuzz {

// One answer as an engine meant it.
struct Answer {
  std::string request_id, body;
  bool sse = false;
  bool cut = false;     // closed by its engine where the end of the body is the connection's end
  bool custom = false;  // with headers that must pass, and such that must not
  std::size_t sent_body = 0;
};

struct Journal {
  std::vector<Answer> answers;
  bool wild = false;      // some engine has sent what is no answer to anything: bodies can't be compared
  bool bad = false;       // some engine has not answered well, so that a request may fail
  bool eventful = false;  // some engine has answered with an event stream, which nothing can be captured from
  bool unchanged = false;   // some engine has answered 304, which only a plain relay takes for an answer
  std::uint64_t reads = 0;  // requests read by engines
  std::uint64_t cancels = 0;
};

enum class Style : std::uint8_t {
  manual,   // waits for the program
  length,   // Content-Length
  chunked,  // chunked JSON
  events,   // chunked event stream
  close,    // delimited by the end of the connection
  trickle,  // an event stream, a few bytes a step
  busy,     // 503
  silent,   // reads, and closes without an answer
  reset,    // reads, and resets
  dying,    // half an event stream, then a reset
  garbage,  // no HTTP
  hints,    // 100 and 103 first
  refuse,   // 400
  early,    // answers when it has the head
  stale,    // answers, and closes without having said so
  empty,    // 204
  // Chosen by a byte of their own.
  unchanged,    // 304 with a Content-Length
  empty_sized,  // 204 with a Content-Length
  head_body,    // a body where the request was HEAD: what looks like another answer
  bad_chunk,    // a chunk, then none
  surplus,      // answers, and later says more on the kept connection
  interim,      // 102 over and over
  upgrade,      // 101
  long_head,    // a head without an end
  early_reset,  // answers when it has the head, and resets
};
inline constexpr unsigned style_count = 16, odd_style_count = 9;

class Engine {
 public:
  using Check = std::function<void(const Message&, unsigned engine)>;
  Engine(unsigned number, EnginePort& port, Journal& journal, Check check)
      : number_(number), port_(port), journal_(journal), check_(std::move(check)) {}

  void serve();                                                 // accepts, reads, answers by its style
  void answer(Style style, std::size_t size, std::size_t cut);  // the oldest open request
  void more(std::size_t bytes);                                 // of what is queued, on all connections
  void raw(std::string_view bytes);                             // on the connection last used
  void close(unsigned which, unsigned how);
  void reset_all();
  bool has_surplus() const;
  void send_surplus();  // on connections whose requests are all answered
  void release();       // all that is held back goes out

  Style style = Style::length;
  std::size_t size = 64;  // of bodies

 private:
  struct Connection {
    Socket socket;
    RequestReader requests{true};
    std::size_t answered = 0, checked = 0;
    bool early = false;  // the request whose body is still to come has its answer
    std::string out;
    std::size_t hold = 0;  // bytes of out that wait for the program
    enum class After : std::uint8_t { keep, fin, reset } after = After::keep;
    std::size_t step = ~std::size_t{0};  // bytes a step
    std::string later;                   // what is to follow the answer
    bool endless = false;                // `later` again and again
  };
  void accept_all();
  void read(Connection& c);
  void respond(Connection& c, const Message& request, Style style, std::size_t size);
  void respond_oddly(Connection& c, const Message& request, Style style, Answer& answer);
  void flush(Connection& c, std::size_t most);

  unsigned number_;
  EnginePort& port_;
  Journal& journal_;
  Check check_;
  std::vector<Connection> connections_;
};

}  // namespace tidegate::fuzz
