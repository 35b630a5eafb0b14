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
    if (c.out.empty() && style == Style::early && c.requests.in_body() && !c.early) {
      respond(c, c.requests.open(), Style::length, size);
      c.early = true;
    }
    if (c.out.empty() && style != Style::manual && c.requests.complete.size() > c.answered)
      respond(c, c.requests.complete[c.answered++], style, size);
    flush(c, std::min(c.step, c.out.size() - std::min(c.hold, c.out.size())));
    if (c.socket.ended() && c.socket.open()) c.socket.reset();
  }
}

void Engine::respond(Connection& c, const Message& request, Style how, std::size_t bytes) {
  Answer answer;
  answer.request_id = request.request_id;
  answer.body = json_body(request.request_id, bytes);
  c.after = Connection::After::keep;
  c.step = ~std::size_t{0};
  const std::size_t piece = bytes % 37 + 1;
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
  }
  journal_.answers.push_back(std::move(answer));
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
    journal_.wild = true;
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
    if (how % 3 == 0) return c.socket.reset();
    if (how % 3 == 1) return c.socket.close_gently();
    return c.socket.fin();
  }
}

void Engine::reset_all() {
  accept_all();
  for (Connection& c : connections_) c.socket.reset();
}

}  // namespace tidegate::fuzz
