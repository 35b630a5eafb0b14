#include "telemetry/json_line.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace tidegate::telemetry {
namespace {

constexpr size_t closing_room = 5;  // "}]}\n" and a spare

// Length of the well-formed UTF-8 sequence at p, or 0.
size_t utf8_length(const unsigned char* p, size_t left) noexcept {
  const unsigned char lead = p[0];
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || left < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((lead == 0xe0 && p[1] < 0xa0) || (lead == 0xed && p[1] > 0x9f) || (lead == 0xf0 && p[1] < 0x90) ||
      (lead == 0xf4 && p[1] > 0x8f)) {
    return 0;
  }
  return length;
}

// What stands for one character in JSON; into out, at most 6 bytes.
size_t escape(const unsigned char* p, size_t length, char* out) noexcept {
  if (length == 0) {
    std::memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
  }
  if (length > 1) {
    std::memcpy(out, p, length);
    return length;
  }
  const unsigned char c = *p;
  if (c == '"' || c == '\\') {
    out[0] = '\\';
    out[1] = static_cast<char>(c);
    return 2;
  }
  if (c >= ' ' && c != 0x7f) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  const char* hex = "0123456789abcdef";
  const char form[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
  std::memcpy(out, form, 6);
  return 6;
}

}  // namespace

JsonLine::JsonLine(char* buffer, size_t size) noexcept
    : begin_(buffer), at_(buffer), end_(buffer + size - closing_room) {
  *at_++ = '{';
}

bool JsonLine::put_string(std::string_view value, size_t most, bool may_cut) noexcept {
  if (end_ - at_ < 2) return false;
  *at_++ = '"';
  const auto* p = reinterpret_cast<const unsigned char*>(value.data());
  size_t left = value.size();
  size_t taken = 0;
  while (left > 0) {
    const size_t length = utf8_length(p, left);
    char form[6];
    const size_t size = escape(p, length, form);
    const size_t step = length == 0 ? 1 : length;
    if (taken + step > most || static_cast<size_t>(end_ - at_) < size + 1) {
      if (!may_cut) return false;
      truncated_ = true;
      break;
    }
    std::memcpy(at_, form, size);
    at_ += size;
    p += step;
    left -= step;
    taken += step;
  }
  *at_++ = '"';
  return true;
}

char* JsonLine::key(std::string_view name) noexcept {
  if (object_broken_) return nullptr;
  char* const before = at_;
  if (!first_ && at_ < end_) *at_++ = ',';
  if (!put_string(name, 256, false) || end_ - at_ < 2) {
    give_up(before);
    return nullptr;
  }
  *at_++ = ':';
  return before;
}

void JsonLine::give_up(char* before) noexcept {
  at_ = before;
  truncated_ = true;
  object_broken_ = object_start_ != nullptr;
}

void JsonLine::raw(std::string_view name, std::string_view value) noexcept {
  char* const before = key(name);
  if (before == nullptr) return;
  if (static_cast<size_t>(end_ - at_) < value.size()) return give_up(before);
  std::memcpy(at_, value.data(), value.size());
  at_ += value.size();
  first_ = false;
}

void JsonLine::text(std::string_view name, std::string_view value, size_t most) noexcept {
  char* const before = key(name);
  if (before == nullptr) return;
  if (!put_string(value, most, true)) return give_up(before);
  first_ = false;
}

void JsonLine::integer(std::string_view name, int64_t value) noexcept {
  char digits[24];
  const auto done = std::to_chars(digits, digits + sizeof digits, value);
  raw(name, {digits, static_cast<size_t>(done.ptr - digits)});
}

void JsonLine::number(std::string_view name, double value, int decimals) noexcept {
  char digits[64];
  if (!std::isfinite(value)) return raw(name, "null");
  const auto form = std::fabs(value) < 1e15 ? std::chars_format::fixed : std::chars_format::scientific;
  const auto done = std::to_chars(digits, digits + sizeof digits, value, form, decimals);
  raw(name,
      done.ec == std::errc() ? std::string_view(digits, static_cast<size_t>(done.ptr - digits)) : "null");
}

void JsonLine::boolean(std::string_view name, bool value) noexcept { raw(name, value ? "true" : "false"); }

bool JsonLine::begin_array(std::string_view name) noexcept {
  if (key(name) == nullptr) return false;
  *at_++ = '[';
  first_ = false;
  array_first_ = true;
  return true;
}

void JsonLine::end_array() noexcept { *at_++ = ']'; }  // closing_room keeps its place

void JsonLine::begin_object() noexcept {
  object_start_ = at_;
  object_broken_ = false;
  first_ = true;
  if (end_ - at_ < 4) {
    object_broken_ = true;
    return;
  }
  if (!array_first_) *at_++ = ',';
  *at_++ = '{';
}

bool JsonLine::end_object() noexcept {
  const bool whole = !object_broken_ && at_ < end_;
  if (whole) {
    *at_++ = '}';
    array_first_ = false;
  } else {
    at_ = object_start_;
    truncated_ = true;
  }
  object_start_ = nullptr;
  object_broken_ = false;
  first_ = false;
  return whole;
}

size_t JsonLine::finish() noexcept {
  *at_++ = '}';
  *at_++ = '\n';
  return static_cast<size_t>(at_ - begin_);
}

size_t format_time(char* out, uint64_t unix_ms) noexcept {
  // Days to a civil date, after the usual 400-year eras that begin in March.
  const uint64_t seconds = unix_ms / 1000;
  const uint64_t days = seconds / 86400 + 719468;
  const uint64_t era = days / 146097, day_of_era = days % 146097;
  const uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const uint64_t shifted = (5 * day_of_year + 2) / 153;
  const uint64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
  const uint64_t year = year_of_era + era * 400 + (month <= 2);
  const auto put = [](char* at, uint64_t value, int digits) {
    for (int i = digits - 1; i >= 0; --i, value /= 10) at[i] = static_cast<char>('0' + value % 10);
  };
  std::memcpy(out, "0000-00-00T00:00:00.000Z", 24);
  put(out, year, 4);
  put(out + 5, month, 2);
  put(out + 8, day_of_year - (153 * shifted + 2) / 5 + 1, 2);
  put(out + 11, seconds % 86400 / 3600, 2);
  put(out + 14, seconds % 3600 / 60, 2);
  put(out + 17, seconds % 60, 2);
  put(out + 20, unix_ms % 1000, 3);
  return 24;
}

}  // namespace tidegate::telemetry
