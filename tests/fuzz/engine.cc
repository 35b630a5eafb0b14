#include "engine.h"

#include <algorithm>
#include <cstdio>

#include <sys/socket.h>

namespace tidegate::fuzz {
namespace {

std::string text(std::size_t size, const std::string& id) {
  std::string s = id + ":";
  while (s.size() < size) s += "lorem ipsum ";
  s.resize(std::max<std::size_t>(size, 1));
  return s;
}

std::string chunk(std::string_view data) {
  char head[20];
  std::snprintf(head, sizeof head, "%zx\r\n", data.size());
  return head + std::string(data) + "\r\n";
}

std::string json_body(const std::string& id, std::size_t size) {
  return R"({"id":")" + id + R"(","kv":{"h":[1,"x"]},"choices":[{"text":")" + text(size, id) +
         R"("}],"usage":{"prompt_tokens":7,"completion_tokens":3}})";
}

std::string events_body(const std::string& id, std::size_t size, unsigned flavour) {
  const std::string end = flavour % 2 ? "\r\n" : "\n";
  std::string body = flavour % 4 == 3 ? ": hello" + end + end : "";
  for (std::size_t i = 0; i < 1 + size / 40 && i < 40; ++i)
    body += R"(data: {"choices":[{"delta":{"content":")" + text(size % 50 + i, id) + R"("}}]})" + end + end;
  return body + "data: [DONE]" + end + end;
}

std::string head(std::string_view status, std::string_view type, std::string_view more) {
  return "HTTP/1.1 " + std::string(status) + "\r\nServer: e\r\nContent-Type: " + std::string(type) + "\r\n" +
         std::string(more) + "\r\n";
}

constexpr std::string_view custom_headers =
    "\r\nX-Custom: a  b\r\nx-custom: c\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
    "X-Request-Id: the-engines-own";

bool good(Style style) {
  switch (style) {
    case Style::manual:
    case Style::length:
    case Style::chunked:
    case Style::events:
    case Style::close:
    case Style::trickle:
    case Style::hints:
    case Style::unchanged:
    case Style::empty: return true;
    default: return false;
  }
}

std::string with_length(std::string_view status, const std::string& body) {
  return head(status, "application/json", "Content-Length: " + std::to_string(body.size()) + "\r\n") + body;
}

std::string in_chunks(const std::string& body, std::size_t piece, bool sse) {
  std::string out =
      head("200 OK", sse ? "text/event-stream" : "application/json", "Transfer-Encoding: chunked\r\n");
  for (std::size_t at = 0; at < body.size(); at += piece)
    out += chunk(std::string_view(body).substr(at, piece));
  return out + "0\r\n" + (piece % 3 == 0 ? "X-Checksum: 7\r\n\r\n" : "\r\n");
}

}  // namespace

void Engine::accept_all() {
  for (;;) {
    const int fd = ::accept4(port_.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    connections_.emplace_back().socket = Socket(http::UniqueFd(fd));
  }
}

void Engine::read(Connection& c) {
  c.socket.receive(1 << 20);
  c.requests.read(c.socket.in);
  if (c.requests.bad) throw Failure("an engine got a request that is not well-formed: " + c.requests.why);
  for (; c.checked < c.requests.complete.size(); ++c.checked) {
    check_(c.requests.complete[c.checked], number_);
    if (!journal_.wild && (c.checked > c.answered + (c.early ? 1 : 0) || (c.checked > 0 && !c.out.empty())))
      throw Failure("an engine got a request behind one that it has not answered");
  }
}

void Engine::serve() {
  accept_all();
  for (Connection& c : connections_) {
    if (!c.socket.open()) continue;
    read(c);
    if (c.early && c.requests.complete.size() > c.answered) {
      c.early = false;
      ++c.answered;
    }
    const bool early_style = style == Style::early || style == Style::early_reset;
    if (c.out.empty() && early_style && c.requests.in_body() && !c.early) {
      journal_.bad = true;
      respond(c, c.requests.open(), Style::length, size);
      if (style == Style::early_reset) c.after = Connection::After::reset;
      c.early = true;
    }
    if (c.endless && c.out.empty()) c.out = c.later;
    if (c.out.empty() && style != Style::manual && c.requests.complete.size() > c.answered)
      respond(c, c.requests.complete[c.answered++], style, size);
    flush(c, std::min(c.step, c.out.size() - std::min(c.hold, c.out.size())));
    if (c.socket.ended() && c.socket.open()) c.socket.reset();
  }
}

bool Engine::has_surplus() const {
  return std::any_of(connections_.begin(), connections_.end(), [](const Connection& c) {
    return c.socket.open() && !c.endless && !c.later.empty() && c.out.empty();
  });
}

void Engine::send_surplus() {
  for (Connection& c : connections_) {
    if (!c.socket.open() || c.endless || c.later.empty() || !c.out.empty()) continue;
    read(c);
    if (c.requests.complete.size() == c.answered && !c.requests.in_body()) c.socket.send(c.later);
    c.later.clear();
  }
}

void Engine::respond(Connection& c, const Message& request, Style how, std::size_t bytes) {
  Answer answer;
  answer.request_id = request.request_id;
  answer.body = json_body(request.request_id, bytes);
  c.after = Connection::After::keep;
  c.step = ~std::size_t{0};
  const std::size_t piece = bytes % 37 + 1;
  const std::size_t before = c.out.size();
  journal_.bad |= !good(how);
  switch (how) {
    case Style::early:
    case Style::manual:
    case Style::length: c.out += with_length("200 OK", answer.body); break;
    case Style::chunked: c.out += in_chunks(answer.body, piece, false); break;
    case Style::trickle: c.step = piece; [[fallthrough]];
    case Style::events:
    case Style::dying:
      answer.sse = true;
      answer.body = events_body(request.request_id, bytes, static_cast<unsigned>(bytes));
      c.out += in_chunks(answer.body, piece, true);
      if (how == Style::dying) {
        c.out.resize(c.out.size() * (bytes % 7 + 1) / 8);
        c.after = Connection::After::reset;
      }
      break;
    case Style::close:
      answer.sse = bytes % 2;
      answer.cut = true;
      if (answer.sse) answer.body = events_body(request.request_id, bytes, static_cast<unsigned>(bytes / 2));
      c.out += head("200 OK", answer.sse ? "text/event-stream" : "application/json", "") + answer.body;
      c.after = Connection::After::fin;
      break;
    case Style::busy: c.out += with_length("503 Busy", answer.body); break;
    case Style::refuse: c.out += with_length("400 Bad Request", answer.body); break;
    case Style::silent: c.after = Connection::After::fin; break;
    case Style::reset: c.after = Connection::After::reset; break;
    case Style::garbage:
      c.out += "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde";
      break;
    case Style::hints:
      c.out += "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
               with_length("200 OK", answer.body);
      break;
    case Style::stale:
      c.out += with_length("200 OK", answer.body);
      c.after = Connection::After::fin;
      break;
    case Style::empty:
      c.out += "HTTP/1.1 204 No Content\r\n\r\n";
      answer.body.clear();
      break;
    default: respond_oddly(c, request, how, answer);
  }
  journal_.eventful |= answer.sse || how == Style::empty || how == Style::unchanged;
  journal_.unchanged |= how == Style::unchanged;
  const std::size_t status_end = c.out.find("\r\nServer: e", before);
  if (bytes % 3 == 1 && status_end != c.out.npos) {
    answer.custom = true;
    c.out.insert(status_end, custom_headers);
  }
  journal_.answers.push_back(std::move(answer));
}

void Engine::respond_oddly(Connection& c, const Message& request, Style how, Answer& answer) {
  const std::string forged = with_length("200 OK", R"({"forged":1})");
  switch (how) {
    case Style::unchanged:
      c.out += head("304 Not Modified", "application/json", "Content-Length: 64\r\n");
      answer.body.clear();
      break;
    case Style::empty_sized:
      c.out += "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
      answer.body.clear();
      break;
    case Style::head_body:
      c.out +=
          request.method == "HEAD"
              ? head("200 OK", "a/b", "Content-Length: " + std::to_string(forged.size()) + "\r\n") + forged
              : with_length("200 OK", answer.body);
      break;
    case Style::bad_chunk:
      c.out += head("200 OK", "application/json", "Transfer-Encoding: chunked\r\n") + chunk(answer.body) +
               "zz\r\n";
      break;
    case Style::surplus:
      c.out += with_length("200 OK", answer.body);
      c.later = forged;
      break;
    case Style::interim:
      c.out += "HTTP/1.1 102 Processing\r\n\r\n";
      c.later = c.out;
      c.endless = true;
      break;
    case Style::upgrade:
      c.out += "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + forged;
      break;
    case Style::long_head: {
      c.out += "HTTP/1.1 200 OK\r\n";
      for (unsigned i = 0; i < 9000; ++i) c.out += "X-Long: aaaaaaaa\r\n";
      break;
    }
    default: c.out += with_length("200 OK", answer.body);
  }
}

void Engine::flush(Connection& c, std::size_t most) {
  c.out.erase(0, c.socket.send(std::string_view(c.out).substr(0, most)));
  if (!c.out.empty() || c.after == Connection::After::keep) return;
  c.after == Connection::After::fin ? c.socket.close_gently() : c.socket.reset();
}

void Engine::answer(Style how, std::size_t bytes, std::size_t cut) {
  accept_all();
  for (Connection& c : connections_) {
    if (!c.socket.open() || !c.out.empty()) continue;
    read(c);
    if (c.requests.complete.size() == c.answered) continue;
    respond(c, c.requests.complete[c.answered++], how, bytes);
    c.hold = c.out.size() - std::min(cut, c.out.size());
    flush(c, c.out.size() - c.hold);
    return;
  }
}

void Engine::more(std::size_t bytes) {
  for (Connection& c : connections_) {
    if (!c.socket.open() || c.out.empty()) continue;
    c.hold = c.out.size() - std::min(bytes, c.out.size());
    flush(c, c.out.size() - c.hold);
  }
}

void Engine::raw(std::string_view bytes) {
  for (Connection& c : connections_) {
    if (!c.socket.open()) continue;
    journal_.wild = journal_.bad = true;
    c.socket.send(bytes);
    return;
  }
}

void Engine::close(unsigned which, unsigned how) {
  unsigned open = 0;
  for (const Connection& c : connections_) open += c.socket.open();
  if (open == 0) return;
  which %= open;
  for (Connection& c : connections_) {
    if (!c.socket.open() || which-- != 0) continue;
    journal_.bad = true;
    if (how % 3 == 0) return c.socket.reset();
    if (how % 3 == 1) return c.socket.close_gently();
    return c.socket.fin();
  }
}

void Engine::release() {
  for (Connection& c : connections_) c.hold = 0, c.step = ~std::size_t{0};
}

void Engine::reset_all() {
  accept_all();
  for (Connection& c : connections_) c.socket.reset();
}

}  // namespace tidegate::fuzz
