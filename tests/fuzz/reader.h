// What: HTTP/1 read by the letter, as a reference: it shares no code with the gateway. Of a client's bytes it
// takes
//   what a server may take (empty lines before a request, an absolute target), of the gateway's only what a
//   careful sender writes.
// Threads: one. Ownership: values. Errors: requests: bad and why; responses: a Failure is thrown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidegate::fuzz {

struct Header {
  std::string name, value;  // the name in lower case
  bool operator==(const Header&) const = default;
};

struct Fields {
  std::vector<Header> headers;
  std::size_t count(std::string_view name) const;
  std::string value(std::string_view name) const;                   // the first one's
  bool names(std::string_view list, std::string_view token) const;  // in a comma-separated header
};

struct Message : Fields {
  std::string method, target, path, body;  // path: without the query
  std::string request_id, host, leg, plan;
  bool http10 = false;
};

// Requests off one connection's bytes, in order, up to the first that is not well-formed.
class RequestReader {
 public:
  explicit RequestReader(bool strict) : strict_(strict) {}
  void read(const std::string& all);  // `all` only ever grows
  std::vector<Message> complete;
  bool bad = false;
  std::string why;
  bool in_body() const noexcept { return in_body_; }  // the last head, while its body is still to come
  const Message& open() const noexcept { return now_; }

 private:
  bool read_head(const std::string& all);
  bool read_body(const std::string& all);
  bool refuse(const std::string& text);
  bool strict_;
  std::size_t at_ = 0, left_ = 0;
  bool in_body_ = false, chunked_ = false;
  Message now_;
};

struct Response : Fields {
  int status = 0;
  std::string request_id, type, body;
  bool whole = false;        // its framing ended
  bool until_close = false;  // its framing is the connection's end
  bool closes = false;       // says so
};

// All final responses in `all`; the last may be cut. `requests`: those that were sent, in order.
std::vector<Response> read_responses(const std::string& all, bool ended, const std::vector<Message>& requests,
                                     std::size_t& interim);

}  // namespace tidegate::fuzz
