// What: watches a relayed response without copying or delaying it, and notes what metrics and policies want
// to know:
//   events, token events, [DONE], usage numbers, and whether the stream stands inside an event.
// Threads: none; an observer belongs to one connection's thread.
// Ownership: looks at the caller's slices during feed() only. A payload that straddles slices is held until
// its event
//   ends, 16 KiB at most; between events nothing is held.
// Errors: none; what is not understood is relayed all the same and merely not counted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tidegate::http {

// Numbers that an engine reported. Absent is unknown, never 0.
struct TokenUsage {
  static constexpr std::int64_t unknown = -1;
  std::int64_t prompt = unknown;
  std::int64_t completion = unknown;
  std::int64_t cached = unknown;

  bool known() const noexcept { return prompt != unknown || completion != unknown; }
  bool operator==(const TokenUsage&) const = default;
};

struct StreamStats {
  std::uint64_t events = 0;        // events with data, [DONE] included
  std::uint64_t token_events = 0;  // see SseObserver
  std::uint64_t error_events = 0;
  bool done = false;  // [DONE] was seen
  TokenUsage usage;   // the latest of each number

  bool operator==(const StreamStats&) const = default;
};

// A token event is one whose data starts with '{' and that is none of:
//   - an error: `event: error`, or "error" as the first member;
//   - usage only: it reports usage and its "choices" is [];
//   - role only: no token event came before, it has a "role" and its "content" is absent, "" or null (so with
//   n > 1
//     choices the role deltas behind the first token count);
//   - where events are named (/v1/messages, /v1/responses): anything but a name that ends with "delta", and
//   not
//     message_delta.
// A closing event with a finish_reason and an empty delta counts: most engines send the last token with it.
//
// Usage is read from a member "usage" of the event's object (one level deeper in named events: "response",
// "message") or from SGLang's "meta_info". Of payloads over 8,320 bytes only the first 256 and the last 8,064
// are looked at, however they are cut, which is where engines put these members.
class SseObserver {
 public:
  void feed(std::span<const char> slice) noexcept;
  const StreamStats& stats() const noexcept { return stats_; }

  // Bytes that must be sent before an event of our own may follow: empty between events, else what ends the
  // open one.
  std::string_view closing() const noexcept;

 private:
  enum class Line : std::uint8_t { start, name, data, event, ignored };
  enum class Family : std::uint8_t { unknown, choices, meta_info };

  void line_part(std::string_view part) noexcept;
  void line_end() noexcept;
  void decide(std::string_view text) noexcept;
  void data_part(std::string_view part) noexcept;
  void dispatch() noexcept;
  void classify(std::string_view head, std::string_view tail, bool whole) noexcept;
  void hold() noexcept;
  void append_held(std::string_view part) noexcept;
  void release() noexcept;

  StreamStats stats_;
  std::string held_;             // payload so far, when it straddles slices or lines
  std::string_view slice_data_;  // payload so far, when it lies in the current slice
  std::uint64_t total_ = 0;      // bytes of the payload
  char name_[12] = {};           // an undecided line's first bytes
  char event_tail_[16] = {};     // the event name's last bytes
  std::uint8_t name_size_ = 0;
  std::uint8_t event_size_ = 0;
  Line line_ = Line::start;
  Family family_ = Family::unknown;
  bool first_line_ = true;   // a byte order mark may stand here
  bool after_cr_ = false;    // a LF now belongs to the line end before
  bool skip_blank_ = false;  // one blank behind the colon is no content
  bool has_data_ = false;
  bool has_field_ = false;
};

// The same numbers from a plain JSON response: of its last 8,064 bytes (or all of it, if shorter).
class JsonTailObserver {
 public:
  void feed(std::span<const char> slice) noexcept;
  TokenUsage finish() noexcept;  // at the body's end; forgets the body

 private:
  std::string tail_;
};

// Usage in one whole JSON object, or in the end of one. `nested`: also one level below the top.
TokenUsage read_usage(std::string_view json, bool nested) noexcept;

}  // namespace tidegate::http
