#include "config/values.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

namespace tidegate::config {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

// Takes "12" or "1.5" off the front; empty when there is none.
std::optional<long double> take_decimal(std::string_view& text) {
  std::size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  if (n == 0 || n > 19) return {};
  std::size_t end = n;
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
    ++end;
    while (end < text.size() && is_digit(text[end])) ++end;
  }
  long double value = 0;
  for (std::size_t i = 0; i < n; ++i) value = value * 10 + (text[i] - '0');
  long double place = 0.1L;
  for (std::size_t i = n + 1; i < end; ++i, place /= 10) value += place * (text[i] - '0');
  text.remove_prefix(end);
  return value;
}

ParsedAddress bad_address(std::string_view text, std::string_view why) {
  return {.address = {},
          .error = "expected an address such as 0.0.0.0:30000, [::]:30000, :30000 or off, found '" +
                   std::string(text) + "'" + std::string(why)};
}

bool is_ipv4(const std::string& host) {
  in_addr v4{};
  return inet_pton(AF_INET, host.c_str(), &v4) == 1;
}

bool good_host(const std::string& host) {
  const bool numeric = std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; });
  if (numeric) return is_ipv4(host);
  return host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
           return is_digit(c) || c == '.' || c == '-' || (lower(c) >= 'a' && lower(c) <= 'z');
         });
}

}  // namespace

bool Address::is_loopback() const {
  return host == "localhost" || host == "::1" || (host.starts_with("127.") && is_ipv4(host));
}

std::string Address::to_string() const {
  if (off) return "off";
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

ParsedAddress parse_address(std::string_view text) {
  if (text == "off") return {.address = Address{.host = {}, .port = 0, .off = true}, .error = {}};
  if (text.starts_with("unix:") || text.starts_with("/"))
    return bad_address(text, ": unix sockets are not supported; listen on loopback instead: 127.0.0.1:30000");
  if (text.find("://") != std::string_view::npos) return bad_address(text, "; leave out the scheme");
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    const bool port_only = !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
    return bad_address(
        text, port_only ? "; write ':" + std::string(text) + "' for all interfaces" : "; add a port");
  }
  Address address;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    address.host = host.substr(1, host.size() - 2);
    in6_addr v6{};
    if (inet_pton(AF_INET6, address.host.c_str(), &v6) != 1)
      return bad_address(text, ": not an IPv6 address");
  } else if (host.find(':') != std::string_view::npos) {
    return bad_address(text, "; put an IPv6 address in brackets");
  } else {
    address.host = host.empty() ? "0.0.0.0" : std::string(host);
    if (!good_host(address.host)) return bad_address(text, ": not an IPv4 address or a host name");
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size())
    return bad_address(text, "; the port is a number from 0 to 65535");
  return {.address = address, .error = {}};
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto number = take_decimal(text);
  if (!number) return {};
  std::string unit = lowered(text);
  if (unit.ends_with('b')) unit.pop_back();
  static constexpr std::string_view prefixes = "kmgt";
  long double factor = 1;
  if (!unit.empty()) {
    const std::size_t power = prefixes.find(unit[0]);
    if (power == std::string_view::npos || (unit.size() > 1 && unit.substr(1) != "i")) return {};
    factor = std::pow(unit.size() > 1 ? 1024.0L : 1000.0L, static_cast<long double>(power + 1));
  }
  const long double bytes = std::floor(*number * factor + 1e-6L);
  if (bytes > 9.2e18L) return {};
  return static_cast<std::uint64_t>(bytes);
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> units{"", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < units.size()) bytes /= 1024, ++unit;
  return std::to_string(bytes) + std::string(units[unit]);
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    long double ms;
  };
  static constexpr std::array<Unit, 5> units{
      {{"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}, {"d", 8.64e7}}};
  if (text == "0") return std::chrono::milliseconds(0);
  if (text.empty()) return {};
  long double total = 0;
  while (!text.empty()) {
    const auto number = take_decimal(text);
    if (!number) return {};
    std::size_t length = 0;
    while (length < text.size() && !is_digit(text[length])) ++length;
    const auto* unit = std::find_if(units.begin(), units.end(),
                                    [&](const Unit& u) { return u.name == text.substr(0, length); });
    if (unit == units.end()) return {};
    total += *number * unit->ms;
    text.remove_prefix(length);
  }
  const long double whole = std::round(total);
  constexpr long double ten_years = 3652.0L * 8.64e7L;
  if (total > ten_years || std::fabs(whole - total) > 1e-6L) return {};
  return std::chrono::milliseconds(static_cast<std::int64_t>(whole));
}

std::string format_duration(std::chrono::milliseconds duration) {
  const std::int64_t ms = duration.count();
  if (ms == 0) return "0";
  if (ms % 3'600'000 == 0) return std::to_string(ms / 3'600'000) + "h";
  if (ms % 60'000 == 0) return std::to_string(ms / 60'000) + "m";
  if (ms % 1000 == 0) return std::to_string(ms / 1000) + "s";
  return std::to_string(ms) + "ms";
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) base = 16;
  if (text.starts_with("0o")) base = 8;
  bool sign_allowed = base == 10;
  if (base != 10) text.remove_prefix(2);
  if (base == 10 && text.starts_with('+')) text.remove_prefix(1), sign_allowed = false;
  if (text.empty() || (!sign_allowed && text[0] == '-')) return {};
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  if (const auto integer = parse_integer(text)) return static_cast<double>(*integer);
  const bool plus = text.starts_with('+');
  if (plus) text.remove_prefix(1);
  const std::string_view digits = !plus && text.starts_with('-') ? text.substr(1) : text;
  // from_chars takes "inf" and "nan"; the core rules want a digit, or a point and a digit.
  if (digits.empty() ||
      !(is_digit(digits[0]) || (digits.size() > 1 && digits[0] == '.' && is_digit(digits[1]))))
    return {};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

bool glob_match(std::string_view pattern, std::string_view text) noexcept {
  // On a mismatch only the last '*' can help: an earlier one taking more would not find what the last cannot.
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

namespace {

// Optimal string alignment: insert, delete, replace, swap of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 64) return {};
  std::string folded = lowered(word);
  std::replace(folded.begin(), folded.end(), '-', '_');
  std::size_t best = std::max<std::size_t>(1, word.size() / 3) + 1;
  std::string found;
  for (const auto& candidate : known) {
    std::string other = lowered(candidate);
    std::replace(other.begin(), other.end(), '-', '_');
    const std::size_t distance = edit_distance(folded, other);
    if (distance < best) best = distance, found = candidate;
  }
  return found;
}

}  // namespace tidegate::config
