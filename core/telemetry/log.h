// What: the gateway's log: lines with fields, as text or JSON, to standard error.
// Threads: everything [any]. Writing formats into a ring's slot: it neither waits nor allocates; a thread of
// the log's own does
//   the I/O. A full ring drops lines and says later, in one line, how many.
// Ownership: one log a process. Text is copied. Before start() and after stop() lines are written at once.
// Errors: none; a descriptor that cannot be written to loses lines, and dropped() counts them.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace tidegate::telemetry::log {

enum class Level : uint8_t { trace, debug, info, warn, error, off };
enum class Format : uint8_t { text, json };

struct Field {
  enum class Type : uint8_t { text, integer, number, boolean };
  std::string_view key;
  std::string_view text;
  union {
    int64_t integer;
    double number;
  };
  Type type;

  Field(std::string_view k, std::string_view v) noexcept : key(k), text(v), integer(0), type(Type::text) {}
  Field(std::string_view k, const char* v) noexcept : Field(k, std::string_view(v ? v : "")) {}
  Field(std::string_view k, bool v) noexcept : key(k), integer(v), type(Type::boolean) {}
  Field(std::string_view k, double v) noexcept : key(k), number(v), type(Type::number) {}
  template <class T>
  requires(std::integral<T> && !std::same_as<T, bool>) Field(std::string_view k, T v)
  noexcept : key(k), integer(static_cast<int64_t>(v)), type(Type::integer) {}
};

struct Options {
  Level level = Level::info;
  Format format = Format::text;
  int fd = 2;
  uint32_t lines = 1024;  // of the ring; a power of two
};

void start(const Options& options);  // twice: the new options hold from here
void stop();                         // writes what is there
void set_level(Level level) noexcept;
bool enabled(Level level) noexcept;
uint64_t dropped() noexcept;

void write(Level level, std::string_view message, std::span<const Field> fields) noexcept;
inline void write(Level level, std::string_view message, std::initializer_list<Field> fields = {}) noexcept {
  if (enabled(level)) write(level, message, std::span<const Field>(fields.begin(), fields.size()));
}
inline void debug(std::string_view m, std::initializer_list<Field> f = {}) noexcept {
  write(Level::debug, m, f);
}
inline void info(std::string_view m, std::initializer_list<Field> f = {}) noexcept {
  write(Level::info, m, f);
}
inline void warn(std::string_view m, std::initializer_list<Field> f = {}) noexcept {
  write(Level::warn, m, f);
}
inline void error(std::string_view m, std::initializer_list<Field> f = {}) noexcept {
  write(Level::error, m, f);
}

// Keeps one call site from flooding: at most `burst` lines a window, for all threads together.
//   static log::Limit limit(5);
//   if (limit.pass()) log::warn("engine refused", {{"worker", id}, {"suppressed", limit.suppressed()}});
class Limit {
 public:
  explicit constexpr Limit(uint32_t burst, uint64_t window_ms = 10000) noexcept
      : burst_(burst), window_ms_(window_ms) {}
  bool pass() noexcept;                 // by the steady clock
  bool pass(uint64_t now_ms) noexcept;  // by the caller's
  uint64_t suppressed() noexcept;       // since this was last asked

 private:
  const uint32_t burst_;
  const uint64_t window_ms_;
  std::atomic<uint64_t> window_{~uint64_t{0}};
  std::atomic<uint32_t> used_{0};
  std::atomic<uint64_t> suppressed_{0};
};

}  // namespace tidegate::telemetry::log
