#include "client.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace tidegate::fuzz {
namespace {

void shrink(int fd) {
  const int size = 2048;
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

constexpr std::size_t large_body = 1'100'000;  // more than is scanned in passing

std::string plan_words(Input& input) {
  static constexpr std::array words = {"with", "discard", "ignore", "fail",
                                       "edit", "capture", "maybe",  "abort"};
  std::uint8_t chosen = input.byte();
  if (chosen & 1) chosen &= 0x9f;  // a capture from a leg that need not have answered is no plan
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    if (chosen >> i & 1) text += std::string(text.empty() ? "" : " ") + words[i];
  const std::uint8_t more = input.byte();
  if (more % 4 == 1) text += " late";
  if (more % 8 == 2) text += " limit";
  return text;
}

std::string plan_digits(Input& input) {
  std::string text;
  unsigned more = 0;
  for (std::size_t leg = 0, legs = 1 + input.below(4); leg < legs; ++leg) {
    const unsigned bits = input.byte() | unsigned{input.byte()} << 8;
    if (leg > 0) text += ' ';
    for (unsigned i = 0; i < 3; ++i) text += static_cast<char>('0' + (bits >> (3 * i) & 7));
    more = bits >> 9;
  }
  if (more & 8) text += 'r';
  if ((more & 7) == 1) text += 'w';
  if ((more & 7) == 2) text += 's';
  if ((more & 7) == 3) text += 't';
  return text;
}

std::string padding(Input& input) {
  static constexpr std::array<std::size_t, 8> sizes = {0, 1, 20, 100, 700, 3000, 9000, 40000};
  const std::uint8_t b = input.byte();
  std::string text(sizes[b % sizes.size()], 'p');
  if (b & 8) text += "\\n\\u00e9\\\"";
  return text;
}

// End-to-end headers, which must pass as they are, and some of the hop, which must not.
std::string more_headers(unsigned variety) {
  std::string out;
  if (variety & 1) out += "X-Custom: a  b\r\nx-custom: \t c \r\n";
  if (variety & 2) out += "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n";
  if (variety & 4) out += "Accept-Encoding: gzip\r\nX-Forwarded-For: 10.0.0.1\r\nAuthorization: Bearer b\r\n";
  if (variety & 8)
    out += "X-Empty:\r\nUpgrade: websocket\r\nProxy-Connection: keep-alive\r\nX-Custom: !~\r\n";
  return out;
}

std::string in_chunks(const std::string& body, std::size_t piece) {
  std::string out;
  for (std::size_t at = 0; at < body.size(); at += piece) {
    char head[20];
    const std::size_t size = std::min(piece, body.size() - at);
    std::snprintf(head, sizeof head, "%zx\r\n", size);
    out.append(head).append(body, at, size).append("\r\n");
  }
  return out + "0\r\n\r\n";
}

}  // namespace

Client::Client(unsigned number, Gateway& gateway, EnginePort& front, bool tcp, bool small) : number_(number) {
  int ends[2] = {-1, -1};
  if (!tcp) {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::runtime_error("no pair of sockets");
    if (small) shrink(ends[0]), shrink(ends[1]);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(front.port);
    ends[0] = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (small) shrink(ends[0]);
    if (::connect(ends[0], reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("no connection to the gateway's port");
    ends[1] = ::accept4(front.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (small) shrink(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
  socket = Socket(http::UniqueFd(ends[0]));
  gateway.accept(http::UniqueFd(ends[1]));
}

void Client::queue_request(Input& input) {
  static constexpr std::array models = {"power_of_two", "round_robin", "two_legs", "any_plan"};
  const std::uint8_t shape = input.byte(), form = input.byte();
  const std::string model = form % 32 == 31 ? "nobody" : models[shape & 3];
  const std::string id = "c" + std::to_string(number_) + "-" + std::to_string(requests_++);
  std::string path = "/v1/chat/completions", prompt = R"("messages":[{"role":"user","content":")";
  std::string end = "\"}]";
  if ((shape >> 2 & 3) == 1) path = "/v1/completions", prompt = R"("prompt":")", end = "\"";
  if ((shape >> 2 & 3) == 2) path = "/generate?x=1", prompt = R"("text":")", end = "\"";
  if ((form & 7) == 5) path += path.find('?') == path.npos ? "?a=%2F&b=c%20d" : "&a=%2F";
  const bool bodiless = (shape >> 2 & 3) == 3 && (form & 3) == 0;
  std::string head = "POST ";
  if (bodiless) head = form & 4 ? "HEAD " : "GET ", path = form & 8 ? "/model_info" : "/nowhere";
  head += path + ((shape & 64) ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n") + "Host: gate\r\nX-Request-Id: " + id +
          "\r\n";
  if (shape & 128)
    head += "Connection: close\r\n";
  else if (shape & 64)
    head += "Connection: keep-alive\r\n";
  if (form & 64) head += "X-Tidegate-Route: 1\r\n";
  head += more_headers(shape * 31u + form * 17u + number_ + requests_);
  if (model == "two_legs" || bodiless)
    head += "X-Plan: " + plan_words(input) + "\r\n";
  else if (model == "any_plan")
    head += "X-Plan: " + plan_digits(input) + "\r\n";
  if (bodiless) {
    queue += head + "\r\n";
    return;
  }
  std::string body = "{\"model\":\"" + model + "\"," + prompt + padding(input) + end + ",\"user\":\"u" + id +
                     "\",\"stream\":" + (shape & 16 ? "true" : "false") + ",\"max_tokens\":9}";
  if (form & 32) body.insert(1, form % 32 == 30 ? std::string(large_body, ' ') : " \n ");
  if ((shape & 32) && !(shape & 64)) {
    queue += head + "Transfer-Encoding: chunked\r\n\r\n" + in_chunks(body, 1 + form * 3u);
    return;
  }
  if ((form & 128) && !(shape & 64)) head += "Expect: 100-continue\r\n";
  queue += head + "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

void Client::mutate(Input& input) {
  if (queue.empty()) return;
  mutated = true;
  const std::size_t where = (input.byte() | std::size_t{input.byte()} << 8) % queue.size();
  const std::uint8_t what = input.byte();
  switch (what % 4) {
    case 0: queue[where] = static_cast<char>(input.byte()); break;
    case 1: queue.erase(where, 1 + what / 16); break;
    case 2: queue.insert(where, 1, static_cast<char>(input.byte())); break;
    default: queue.insert(where, queue.substr(where, what / 4)); break;
  }
}

void Client::send(std::size_t most) {
  const std::size_t n = socket.send(std::string_view(queue).substr(0, most));
  sent_.append(queue, 0, n);
  queue.erase(0, n);
  if (n > 0) asked.read(sent_);
}

}  // namespace tidegate::fuzz
