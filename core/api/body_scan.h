// What: one pass over a JSON request body: what routing reads, the prompt as spans of raw bytes, and where
// every
//   top-level member stands, so that later edits are splices.
// Threads: a scanner belongs to one thread at a time (one a loop thread, and one a pool thread for big
// bodies). Ownership: results point into the body; what had to be unescaped is owned by the BodyScan. They
// end with the body. Errors: a ScanError with status 400; malformed JSON is located by a second, slow pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/endpoints.h"

namespace tidegate::api {

inline constexpr std::size_t scan_padding = 64;  // readable bytes that the caller guarantees behind the body

// A piece of the prompt, as it stands in the body. A string's span is without its quotes; a list of token ids
// and the reference of an image are raw JSON.
struct PromptSpan {
  enum class Kind : std::uint8_t { text, token_ids, image, other };
  std::string_view role;  // of the message, unescaped; empty outside of messages
  const char* data = nullptr;
  std::size_t size = 0;
  Kind kind = Kind::text;
  bool escaped = false;  // the bytes contain JSON escapes

  std::string_view bytes() const noexcept { return {data, size}; }
};

// A top-level member: [key_begin, value_end) with the key's quotes. Offsets into the body.
struct Member {
  std::string_view key;  // unescaped
  std::size_t key_begin = 0;
  std::size_t value_begin = 0;
  std::size_t value_end = 0;
};

struct ScanError {
  std::string_view code;  // invalid_json, body_not_object, duplicate_member, invalid_member
  std::string message;
  std::string_view member = {};  // which one, for "param"
  std::size_t byte = 0;          // offset; with line and column (from 1) for invalid_json
  std::size_t line = 0;
  std::size_t column = 0;
};

struct BodyScan {
  std::string_view model;
  std::string_view rid;
  std::string_view user;
  std::optional<std::uint64_t> max_tokens;  // or max_completion_tokens, max_output_tokens, max_new_tokens
  std::optional<std::int64_t> priority;
  std::uint32_t n = 1;
  bool has_model = false;
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
  std::size_t open = 0;        // offset of the object's '{'
  std::size_t close = 0;       // and of its '}'
  std::uint64_t prompt_bytes = 0;
  std::vector<PromptSpan> spans;
  std::vector<Member> members;
  std::vector<std::unique_ptr<std::string>> unescaped;  // the rare keys and values that hold JSON escapes

  std::uint64_t estimated_tokens() const noexcept { return (prompt_bytes + 3) / 4; }
  void clear() noexcept;
};

class BodyScanner {
 public:
  BodyScanner();
  ~BodyScanner();
  BodyScanner(BodyScanner&&) noexcept;
  BodyScanner& operator=(BodyScanner&&) noexcept;

  // scan_padding bytes behind body.end() must be readable. True: `out` is filled; false: `error` says why.
  bool scan(std::string_view body, PromptMember prompt, BodyScan& out, ScanError& error) noexcept;

  // Gives back memory beyond what bodies of `keep_bytes` need (the parser takes several times its body).
  void shrink(std::size_t keep_bytes = 256 * 1024) noexcept;
  std::size_t capacity() const noexcept;  // bytes of body that fit without allocating

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Where and why `body` is not JSON: a full, strict, slow parse. False if it is JSON.
bool locate_json_error(std::string_view body, ScanError& error);

}  // namespace tidegate::api
