#include "telemetry/log.h"

#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

#include "telemetry/json_line.h"
#include "telemetry/line_writer.h"

namespace tidegate::telemetry::log {
namespace {

constexpr uint32_t line_bytes = 1024;

constexpr std::string_view level_names[] = {"trace", "debug", "info", "warn", "error", "off"};

std::atomic<Level> threshold{Level::info};
std::atomic<Format> format{Format::text};
// Taken without a lock by whoever writes; start() and stop() wait until nobody is inside before they destroy
// the old one.
std::atomic<LineWriter*> writer{nullptr};
std::atomic<uint32_t> inside{0};  // threads between taking `writer` and publishing their line
std::atomic<uint64_t> dropped_before{0};
std::mutex control;

uint64_t unix_ms() noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

// A text line: 2026-01-31T12:34:56.789Z warn  message key=value key="a value"
struct TextLine {
  char* at;
  char* end;  // leaves room for '\n'

  void put(std::string_view text) noexcept {
    const size_t size = std::min(text.size(), static_cast<size_t>(end - at));
    std::memcpy(at, text.data(), size);
    at += size;
  }
  // Control characters would let a client write lines of its own into our log.
  void put_clean(std::string_view text, bool quoted) noexcept {
    for (const char c : text) {
      if (end - at < 2) return;
      const auto byte = static_cast<unsigned char>(c);
      if (quoted && (c == '"' || c == '\\')) *at++ = '\\';
      *at++ = byte < ' ' || byte == 0x7f ? '?' : c;
    }
  }
  void put(const Field& field) noexcept {
    char digits[40];
    put(" ");
    put_clean(field.key, false);
    put("=");
    switch (field.type) {
      case Field::Type::text: {
        const bool bare = !field.text.empty() && field.text.find_first_of(" \"=\\") == std::string_view::npos;
        if (!bare) put("\"");
        put_clean(field.text.substr(0, 512), !bare);
        if (!bare) put("\"");
        return;
      }
      case Field::Type::integer:
        return put(std::string_view(digits, std::to_chars(digits, digits + 40, field.integer).ptr));
      case Field::Type::number:
        return put(std::string_view(digits, std::to_chars(digits, digits + 40, field.number).ptr));
      default: return put(field.integer ? "true" : "false");
    }
  }
};

size_t format_text(char* out, size_t size, Level level, std::string_view message,
                   std::span<const Field> fields) noexcept {
  TextLine line{out + format_time(out, unix_ms()), out + size - 1};
  line.put(" ");
  line.put(level_names[static_cast<size_t>(level)]);
  line.put(level == Level::info || level == Level::warn ? "  " : " ");
  line.put_clean(message, false);
  for (const Field& field : fields) line.put(field);
  *line.at++ = '\n';
  return static_cast<size_t>(line.at - out);
}

size_t format_json(char* out, size_t size, Level level, std::string_view message,
                   std::span<const Field> fields) noexcept {
  JsonLine line(out, size);
  char time[24];
  line.text("time", {time, format_time(time, unix_ms())});
  line.text("level", level_names[static_cast<size_t>(level)]);
  line.text("message", message);
  for (const Field& field : fields) {
    switch (field.type) {
      case Field::Type::text: line.text(field.key, field.text); break;
      case Field::Type::integer: line.integer(field.key, field.integer); break;
      case Field::Type::number: line.number(field.key, field.number, 6); break;
      case Field::Type::boolean: line.boolean(field.key, field.integer != 0); break;
    }
  }
  return line.finish();
}

size_t format_line(char* out, size_t size, Level level, std::string_view message,
                   std::span<const Field> fields) noexcept {
  return format.load(std::memory_order_relaxed) == Format::json
             ? format_json(out, size, level, message, fields)
             : format_text(out, size, level, message, fields);
}

size_t tell_lost(char* out, size_t size, uint64_t lost) noexcept {
  const Field fields[] = {{"lines", lost}};
  return format_line(out, size, Level::warn, "log lines lost: the log's reader is too slow", fields);
}

void retire(LineWriter* old) {
  if (old == nullptr) return;
  // Sequentially consistent, as in write(): whoever is not counted inside sees the new pointer.
  while (inside.load(std::memory_order_seq_cst) != 0) usleep(100);
  dropped_before.fetch_add(old->ring().dropped() + old->failed());
  delete old;
}

}  // namespace

void start(const Options& options) {
  const std::lock_guard lock(control);
  threshold.store(options.level);
  format.store(options.format);
  auto made = std::make_unique<LineWriter>(LineWriter::Options{.fd = options.fd,
                                                               .lines = options.lines,
                                                               .line_bytes = line_bytes,
                                                               .gather_ms = 10,
                                                               .tell_lost = tell_lost});
  retire(writer.exchange(made.release(), std::memory_order_seq_cst));
}

void stop() {
  const std::lock_guard lock(control);
  retire(writer.exchange(nullptr, std::memory_order_seq_cst));
}

void set_level(Level level) noexcept { threshold.store(level, std::memory_order_relaxed); }

bool enabled(Level level) noexcept {
  return level >= threshold.load(std::memory_order_relaxed) && level != Level::off;
}

uint64_t dropped() noexcept {
  inside.fetch_add(1, std::memory_order_seq_cst);
  LineWriter* now = writer.load(std::memory_order_seq_cst);
  const uint64_t total = dropped_before.load() + (now ? now->ring().dropped() + now->failed() : 0);
  inside.fetch_sub(1, std::memory_order_release);
  return total;
}

void write(Level level, std::string_view message, std::span<const Field> fields) noexcept {
  if (!enabled(level)) return;
  inside.fetch_add(1, std::memory_order_seq_cst);
  LineWriter* now = writer.load(std::memory_order_seq_cst);
  if (now != nullptr) {
    if (LineRing::Slot* slot = now->ring().claim()) {
      slot->length = static_cast<uint32_t>(format_line(slot->text, line_bytes, level, message, fields));
      now->ring().publish(slot);
    }
  } else {
    char line[line_bytes];
    const size_t size = format_line(line, sizeof line, level, message, fields);
    [[maybe_unused]] const ssize_t done = ::write(2, line, size);
  }
  inside.fetch_sub(1, std::memory_order_release);
}

bool Limit::pass() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return pass(static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000);
}

bool Limit::pass(uint64_t now_ms) noexcept {
  // Two threads at a window's turn may both count from 0: a few lines too many, which is no harm.
  const uint64_t window = now_ms / window_ms_;
  if (window_.load(std::memory_order_relaxed) != window) {
    window_.store(window, std::memory_order_relaxed);
    used_.store(0, std::memory_order_relaxed);
  }
  if (used_.fetch_add(1, std::memory_order_relaxed) < burst_) return true;
  suppressed_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

uint64_t Limit::suppressed() noexcept { return suppressed_.exchange(0, std::memory_order_relaxed); }

}  // namespace tidegate::telemetry::log
