// What: reads one HTTP/1.x message head (request or response) out of a receive buffer and refuses whatever
// two
//   parsers could read differently: the smuggling forms, obs-fold, odd targets, doubtful lengths and codings.
// Threads: none of its own; a parser and a head belong to one connection's thread.
// Ownership: zero-copy: every view in a head points into the bytes given to parse(); they must stay in place
// as
//   long as the head is read. Heads keep the capacity of their vectors over clear().
// Errors: never throws (but for memory); an Error says status, code and message, and the connection is
// closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace tidegate::http {

struct HeaderField {
  std::string_view name;    // as it came; compare with iequals()
  std::string_view value;   // without blanks around it
  std::uint16_t known = 0;  // the name as a boost::beast::http::field; 0: none of them, or nobody has looked
};

// What both kinds of head have. `keep_alive` is what version and Connection ask for, and is false where the
// framing makes reuse unsafe.
struct MessageHead {
  std::uint8_t version = 11;  // 10 or 11
  bool chunked = false;       // Transfer-Encoding: chunked; then content_length is empty
  bool keep_alive = false;
  std::optional<std::uint64_t> content_length;
  std::vector<HeaderField> fields;  // all of them, in order
  std::vector<std::string_view>
      connection_names;  // field names (and close, keep-alive) that Connection lists

  const HeaderField* find(std::string_view name) const noexcept;  // first of that name, or null
  std::string_view value(std::string_view name) const noexcept;   // its value, or empty
};

struct RequestHead : MessageHead {
  std::string_view method;
  std::string_view target;  // origin-form ("/path?query"), or "*" for OPTIONS; absolute-form arrives reduced
  std::string_view path;    // target up to '?'
  std::string_view query;   // behind '?', may be empty
  std::string_view host;    // empty only on HTTP/1.0
  bool expect_continue = false;

  bool has_body() const noexcept { return chunked || content_length.value_or(0) > 0; }
  void clear() noexcept;
};

struct ResponseHead : MessageHead {
  std::uint16_t status = 0;
  std::string_view reason;

  bool informational() const noexcept { return status >= 100 && status < 200 && status != 101; }
  bool upgrade() const noexcept { return status == 101; }
  void clear() noexcept;
};

enum class BodyKind : std::uint8_t { none, length, chunked, until_close };

// How the body of a final response is delimited. For `length` the count is *head.content_length (may be 0).
BodyKind response_body_kind(const ResponseHead& head, bool request_was_head) noexcept;

struct HeadLimits {
  std::uint32_t bytes = 32 * 1024;  // whole head with the empty line; beyond it 431
  std::uint32_t fields = 128;       // beyond it 431
};

struct ParseResult {
  enum class State : std::uint8_t { need_more, done, error };
  State state = State::need_more;
  std::uint16_t status = 0;    // on error: 400, 431 or 505 (for a response it is the caller's to answer 502)
  std::size_t consumed = 0;    // on done: bytes of the head, the empty line included
  std::string_view code = {};  // on error: machine-readable, static
  std::string_view message = {};  // on error: for people, static

  bool done() const noexcept { return state == State::done; }
  bool failed() const noexcept { return state == State::error; }
  bool need_more() const noexcept { return state == State::need_more; }
};

// Give parse() everything unconsumed from the head's first byte on, again and again with more bytes, until it
// is done or fails; it remembers how far it has looked for the end, so trickling bytes cost O(n) altogether.
// `data` may move between calls. After done or error the parser is ready for the next head. A request may be
// preceded by at most `tolerated_empty_lines` CRLFs (RFC 9112 2.2); a response by none. A 1xx response is
// done like any other (see informational()): parse again behind it for the final one.
template <class Head>
class HeadParser {
 public:
  static constexpr std::size_t tolerated_empty_lines = 2;

  HeadParser() noexcept = default;
  explicit HeadParser(HeadLimits limits) noexcept : limits_(limits) {}

  ParseResult parse(std::span<const char> data, Head& out);
  void reset() noexcept {
    seen_ = 0;
    first_line_checked_ = false;
  }
  // True while bytes of a head have come, but not all: what a close or a time limit then means differs.
  bool in_head() const noexcept { return seen_ != 0; }

 private:
  HeadLimits limits_{};
  std::size_t seen_ = 0;  // bytes in which no end of head stands
  bool first_line_checked_ = false;
};

extern template class HeadParser<RequestHead>;
extern template class HeadParser<ResponseHead>;
using RequestParser = HeadParser<RequestHead>;
using ResponseParser = HeadParser<ResponseHead>;

// Bytes and tokens, shared by everything that looks at heads.
bool iequals(std::string_view a, std::string_view b) noexcept;  // ASCII only
bool is_token(std::string_view s) noexcept;                     // RFC 9110 token, not empty
bool is_field_value(std::string_view s,
                    bool obs_text) noexcept;  // no controls but HTAB; bytes > 0x7f if obs_text

}  // namespace tidegate::http
