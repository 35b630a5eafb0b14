// What: writes one JSON object into a buffer of fixed size, without allocation. Whatever does not fit is left
// out whole, so
//   the result is always valid JSON: a text is cut at a character's end, a member that has no room is
//   skipped.
// Threads: one; a value type.
// Ownership: the buffer is the caller's.
// Errors: truncated() says that something was cut or left out. Bytes that are not UTF-8 become U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tidegate::telemetry {

class JsonLine {
 public:
  JsonLine(char* buffer, size_t size) noexcept;  // size >= 64

  void text(std::string_view key, std::string_view value, size_t most = 512) noexcept;
  void integer(std::string_view key, int64_t value) noexcept;
  void number(std::string_view key, double value, int decimals = 3) noexcept;  // not finite: null
  void boolean(std::string_view key, bool value) noexcept;
  // An array of objects: begin_array, then begin_object, members, end_object ..., end_array. An object for
  // which there is no room is taken back whole, and end_object says false.
  bool begin_array(std::string_view key) noexcept;
  void end_array() noexcept;
  void begin_object() noexcept;
  bool end_object() noexcept;

  size_t finish() noexcept;  // closes the object, adds '\n', gives the length
  bool truncated() const noexcept { return truncated_; }

 private:
  bool put_string(std::string_view value, size_t most, bool may_cut) noexcept;
  char* key(std::string_view name) noexcept;  // where it began, for give_up; nullptr: no room
  void give_up(char* before) noexcept;        // takes a begun member back
  void raw(std::string_view key, std::string_view value) noexcept;

  char *begin_, *at_, *end_;  // end_ leaves room for what closes the object
  char* object_start_ = nullptr;
  bool first_ = true, truncated_ = false, object_broken_ = false, array_first_ = true;
};

// "2026-01-31T12:34:56.789Z", 24 characters.
size_t format_time(char* out, uint64_t unix_ms) noexcept;

}  // namespace tidegate::telemetry
