#include "reader.h"

#include <algorithm>

#include "wire.h"

namespace tidegate::fuzz {
namespace {

using std::string_view;

constexpr string_view end_of_line = "\r\n";

string_view trimmed(string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

std::string lower(string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

bool is_token(string_view s) {
  constexpr string_view others = "!#$%&'*+-.^_`|~";
  return !s.empty() && std::all_of(s.begin(), s.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           others.find(c) != others.npos;
  });
}

bool is_text(string_view s) {
  return std::none_of(s.begin(), s.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u < 32 && c != '\t') || u == 127;
  });
}

std::optional<std::size_t> number(string_view digits, unsigned base) {
  std::size_t n = 0;
  if (digits.empty()) return std::nullopt;
  for (char c : digits) {
    unsigned d = 99;
    if (c >= '0' && c <= '9') d = static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') d = static_cast<unsigned>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') d = static_cast<unsigned>(c - 'A' + 10);
    if (d >= base || n > (std::size_t{1} << 58)) return std::nullopt;
    n = n * base + d;
  }
  return n;
}

// The first line into `start`, the others into `fields`; what is wrong, or nothing. `head` ends before its
// empty line.
string_view read_lines(string_view head, string_view& start, Fields& fields) {
  for (bool first = true; first || !head.empty(); first = false) {
    const std::size_t end = std::min(head.find(end_of_line), head.size());
    const string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    if (!is_text(line)) return "a control character in a line";
    if (first) {
      start = line;
      continue;
    }
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return "a line that is no header";
    fields.headers.push_back({lower(line.substr(0, colon)), std::string(trimmed(line.substr(colon + 1)))});
  }
  return {};
}

struct Framing {
  bool chunked = false;
  std::optional<std::size_t> length;
};

string_view read_framing(const Fields& fields, bool http10, Framing& framing) {
  const auto codings = fields.count("transfer-encoding"), lengths = fields.count("content-length");
  if (codings + lengths > 1) return "more than one length";
  if (codings == 1 && (http10 || lower(fields.value("transfer-encoding")) != "chunked"))
    return "an odd coding";
  framing.chunked = codings == 1;
  if (lengths == 1 && !(framing.length = number(fields.value("content-length"), 10))) return "an odd length";
  return {};
}

enum class Chunks { more, done, bad };

// Chunks from `at` on; `at` stays before the first that is not whole, but for the data that has come.
Chunks read_chunks(const std::string& all, std::size_t& at, std::size_t& left, std::string& body) {
  for (;;) {
    if (left > 2) {
      const std::size_t n = std::min(left - 2, all.size() - at);
      body.append(all, at, n);
      at += n;
      left -= n;
      if (left > 2) return Chunks::more;
    }
    if (left > 0) {  // the end of the chunk's data
      if (all.size() - at < 2) return Chunks::more;
      if (all.compare(at, 2, end_of_line) != 0) return Chunks::bad;
      at += 2;
      left = 0;
    }
    const std::size_t end = all.find(end_of_line, at);
    if (end == all.npos) return Chunks::more;
    const string_view line(all.data() + at, end - at);
    const auto size = number(line.substr(0, line.find(';')), 16);
    if (!size || !is_text(line)) return Chunks::bad;
    if (*size > 0) {
      at = end + 2;
      left = *size + 2;
      continue;
    }
    // The trailer section: to an empty line.
    const std::size_t last = all.find("\r\n\r\n", end);
    if (last == all.npos) return Chunks::more;
    Fields trailers;
    string_view none;
    if (!read_lines(string_view(all).substr(end, last - end), none, trailers).empty()) return Chunks::bad;
    at = last + 4;
    return Chunks::done;
  }
}

}  // namespace

std::size_t Fields::count(string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(headers.begin(), headers.end(), [&](const Header& h) { return h.name == name; }));
}

std::string Fields::value(string_view name) const {
  for (const Header& h : headers)
    if (h.name == name) return h.value;
  return {};
}

bool Fields::names(string_view list, string_view token) const {
  for (const Header& h : headers) {
    if (h.name != list) continue;
    for (string_view rest = h.value; !rest.empty();) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (lower(trimmed(rest.substr(0, comma))) == token) return true;
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return false;
}

void RequestReader::read(const std::string& all) {
  while (!bad && (in_body_ ? read_body(all) : read_head(all))) {
  }
}

bool RequestReader::refuse(const std::string& text) {
  bad = true;
  why = text + " at byte " + std::to_string(at_);
  return false;
}

bool RequestReader::read_head(const std::string& all) {
  while (!strict_ && all.compare(at_, 2, end_of_line) == 0) at_ += 2;
  const std::size_t end = all.find("\r\n\r\n", at_);
  if (end == all.npos) return false;
  now_ = {};
  string_view start;
  if (const auto odd = read_lines(string_view(all).substr(at_, end - at_), start, now_); !odd.empty())
    return refuse(std::string(odd));
  const std::size_t first = start.find(' '), last = start.rfind(' ');
  if (first == start.npos || first == last) return refuse("no request line");
  const string_view version = start.substr(last + 1);
  string_view target = start.substr(first + 1, last - first - 1);
  now_.method = start.substr(0, first);
  now_.http10 = version == "HTTP/1.0";
  if (!is_token(now_.method) || target.empty() || target.find_first_of(" \t#") != target.npos)
    return refuse("an odd request line");
  if (version != "HTTP/1.1" && (strict_ || !now_.http10)) return refuse("an odd version");
  if (!strict_ && lower(target.substr(0, 7)) == "http://") {
    target.remove_prefix(std::min(target.find('/', 7), target.size()));
    if (target.empty()) target = "/";
  }
  if (strict_ && target[0] != '/') return refuse("an odd target");
  now_.target = target;
  now_.path = target.substr(0, target.find('?'));
  now_.host = now_.value("host");
  now_.request_id = now_.value("x-request-id");
  now_.leg = now_.value("x-leg");
  now_.plan = now_.value("x-plan");
  if (now_.count("host") != 1 && (strict_ || !now_.http10)) return refuse("not one Host");
  Framing framing;
  if (const auto odd = read_framing(now_, now_.http10, framing); !odd.empty())
    return refuse(std::string(odd));
  chunked_ = framing.chunked;
  left_ = framing.length.value_or(0);
  at_ = end + 4;
  in_body_ = true;
  return true;
}

bool RequestReader::read_body(const std::string& all) {
  if (chunked_) {
    const Chunks got = read_chunks(all, at_, left_, now_.body);
    if (got == Chunks::bad) return refuse("broken chunks");
    if (got == Chunks::more) return false;
  } else {
    const std::size_t take = std::min(left_, all.size() - at_);
    now_.body.append(all, at_, take);
    at_ += take;
    left_ -= take;
    if (left_ > 0) return false;
  }
  in_body_ = false;
  complete.push_back(std::move(now_));
  now_ = {};
  return true;
}

namespace {

// The status line and what a gateway may say behind it.
void check_head(string_view start, const Response& r, const std::string& all, std::size_t at) {
  const auto fail = [&](const char* what) {
    throw Failure(std::string("a client got ") + what + ": " + all.substr(at, 300));
  };
  const bool line = start.size() >= 13 && start.starts_with("HTTP/1.1 ") && start[12] == ' ';
  if (!line || r.status < 100) fail("something that is no response");
  if (r.count("x-request-id") > 1) fail("two request ids");
  for (const char* hop : {"x-hop", "keep-alive", "proxy-connection", "upgrade", "te"})
    if (r.count(hop) > 0) fail("a header of the engine's hop");
  const bool bodiless = r.status < 200 || r.status == 204;
  if (bodiless && r.count("content-length") + r.count("transfer-encoding") > 0)
    fail("a length without a body");
  if (r.status < 200 && r.status != 100) fail("an interim answer that is not the gateway's");
}

// Takes one body off `all` from `at` on.
void take_body(const std::string& all, std::size_t& at, bool ended, const Framing& framing, bool none,
               Response& out) {
  if (framing.chunked && !none) {
    std::size_t left = 0;
    const Chunks got = read_chunks(all, at, left, out.body);
    if (got == Chunks::bad) throw Failure("a client got broken chunks: " + all.substr(at, 80));
    out.whole = got == Chunks::done;
    return;
  }
  out.until_close = !none && !framing.length;
  const std::size_t rest = all.size() - at;
  const std::size_t length = none ? 0 : framing.length.value_or(rest), take = std::min(length, rest);
  out.body.assign(all, at, take);
  at += take;
  out.whole = out.until_close ? ended : take == length;
}

}  // namespace

std::vector<Response> read_responses(const std::string& all, bool ended, const std::vector<Message>& requests,
                                     std::size_t& interim) {
  std::vector<Response> responses;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find("\r\n\r\n", at);
    if (end == all.npos) break;
    Response r;
    string_view start;
    if (const auto odd = read_lines(string_view(all).substr(at, end - at), start, r); !odd.empty())
      throw Failure("a client got " + std::string(odd) + ": " + all.substr(at, end - at));
    if (start.size() > 12) r.status = static_cast<int>(number(start.substr(9, 3), 10).value_or(0));
    check_head(start, r, all, at);
    if (!responses.empty() && responses.back().closes)
      throw Failure("a client got a response behind one that closes the connection: " +
                    all.substr(0, at + 200));
    at = end + 4;
    if (r.status < 200) {
      ++interim;
      continue;
    }
    Framing framing;
    if (const auto odd = read_framing(r, false, framing); !odd.empty())
      throw Failure("a client got " + std::string(odd) + ": " + all.substr(0, at));
    r.request_id = r.value("x-request-id");
    r.type = r.value("content-type");
    // What the server says of itself, a 408 perhaps, has no id and may come before the rest of a HEAD
    // request.
    const bool known = responses.size() < requests.size();
    const bool is_head = known && requests[responses.size()].method == "HEAD" && !r.request_id.empty();
    if (known && requests[responses.size()].http10 && framing.chunked)
      throw Failure("an HTTP/1.0 client got chunks: " + all.substr(0, at));
    const bool none = is_head || r.status == 204 || r.status == 304;
    take_body(all, at, ended, framing, none, r);
    r.closes = r.names("connection", "close") || r.until_close;
    responses.push_back(std::move(r));
    if (!responses.back().whole) break;
  }
  return responses;
}

}  // namespace tidegate::fuzz
