#include "http/head_rules.h"

#include <algorithm>
#include <cstring>

namespace tidegate::http {

namespace {

constexpr bool alphanumeric(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

constexpr bool in(unsigned char c, std::string_view set) {
  return set.find(static_cast<char>(c)) != std::string_view::npos;
}

enum : std::uint8_t { token_bit = 1, target_bit = 2, name_bit = 4, value_bit = 8 };

constexpr std::array<std::uint8_t, 256> classes = [] {
  std::array<std::uint8_t, 256> table{};
  for (unsigned c = 0; c < 256; ++c) {
    const auto u = static_cast<unsigned char>(c);
    const bool alnum = alphanumeric(u);
    std::uint8_t bits = 0;
    if (alnum || (c != 0 && in(u, "!#$%&'*+-.^_`|~"))) bits |= token_bit;
    // RFC 3986 and what browsers leave bare in queries; never what ends or quotes an URI elsewhere.
    if (c > 0x20 && c < 0x7f && !in(u, "\"#<>\\")) bits |= target_bit;
    // Host names as they occur. RFC 3986's sub-delims are left out: nobody uses them, and some parsers split
    // there.
    if (alnum || (c != 0 && in(u, "-._~%"))) bits |= name_bit;
    if (c == '\t' || (c >= 0x20 && c != 0x7f)) bits |= value_bit;
    table[c] = bits;
  }
  return table;
}();

bool is(char c, std::uint8_t bit) { return (classes[static_cast<unsigned char>(c)] & bit) != 0; }

bool all(std::string_view s, std::uint8_t bit) {
  for (char c : s) {
    if (!is(c, bit)) return false;
  }
  return true;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// The same for eight bytes. The sums carry into a byte's top bit where its other seven are from 'A' on, or
// beyond 'Z'; never into the next byte.
std::uint64_t lower(std::uint64_t word) {
  constexpr std::uint64_t ones = 0x0101010101010101u;
  const std::uint64_t low = word & (0x7f * ones);
  const std::uint64_t from_a = low + (0x80 - 'A') * ones;
  const std::uint64_t beyond_z = low + (0x7f - 'Z') * ones;
  const std::uint64_t upper = from_a & ~beyond_z & ~word & (0x80 * ones);
  return word | (upper >> 2);
}

bool hex(char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f'); }

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Every '%' is followed by two hexadecimal digits and none of them spells a control character.
bool escapes_are_sane(std::string_view s) {
  for (std::size_t at = s.find('%'); at != std::string_view::npos; at = s.find('%', at + 1)) {
    if (s.size() - at < 3 || !hex(s[at + 1]) || !hex(s[at + 2])) return false;
    if (s[at + 1] < '2' || (s[at + 1] == '7' && lower(s[at + 2]) == 'f')) return false;
  }
  return true;
}

}  // namespace

// Eight letters at a time: names are compared a hundred times a request, and mostly with themselves.
bool iequals(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  std::size_t at = 0;
  for (; a.size() - at >= sizeof(std::uint64_t); at += sizeof(std::uint64_t)) {
    std::uint64_t left, right;
    std::memcpy(&left, a.data() + at, sizeof left);
    std::memcpy(&right, b.data() + at, sizeof right);
    if (left != right && lower(left) != lower(right)) return false;
  }
  for (; at < a.size(); ++at) {
    if (a[at] != b[at] && lower(a[at]) != lower(b[at])) return false;
  }
  return true;
}

bool is_token(std::string_view s) noexcept { return !s.empty() && all(s, token_bit); }

bool is_field_value(std::string_view s, bool obs_text) noexcept {
  return all(s, value_bit) && (obs_text || head_rules::is_ascii(s));
}

namespace head_rules {

bool is_token_char(char c) noexcept { return is(c, token_bit); }

bool is_ascii(std::string_view s) noexcept {
  std::uint64_t high = 0;
  while (s.size() >= sizeof high) {
    std::uint64_t word;
    std::memcpy(&word, s.data(), sizeof word);
    high |= word;
    s.remove_prefix(sizeof word);
  }
  for (char c : s) high |= static_cast<unsigned char>(c);
  return (high & 0x8080808080808080u) == 0;
}

bool is_disguised(std::string_view name) noexcept {
  if (name.find('_') == std::string_view::npos) return false;
  static constexpr std::array<std::string_view, 12> taken{
      "content-length",    "transfer-encoding",  "x-forwarded-for",     "x-forwarded-host",
      "x-forwarded-proto", "x-request-id",       "accept-encoding",     "keep-alive",
      "proxy-connection",  "proxy-authenticate", "proxy-authorization", "http2-settings"};
  const auto same = [](char a, char b) { return lower(a == '_' ? '-' : a) == b; };
  return std::any_of(taken.begin(), taken.end(), [&](std::string_view other) {
    return name.size() == other.size() && std::equal(name.begin(), name.end(), other.begin(), same);
  });
}

bool is_authority(std::string_view s) noexcept {
  std::string_view port;
  if (s.starts_with('[')) {
    const std::size_t end = s.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    for (char c : s.substr(1, end - 1)) {
      if (!hex(c) && c != ':' && c != '.') return false;
    }
    port = s.substr(end + 1);
  } else {
    const std::size_t colon = s.find(':');
    const std::string_view name = s.substr(0, colon);
    if (name.empty() || !all(name, name_bit) || !escapes_are_sane(name)) return false;
    port = s.substr(name.size());
  }
  if (port.empty()) return true;
  if (port.front() != ':' || port.size() > 6) return false;
  for (char c : port.substr(1)) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

std::optional<std::uint64_t> parse_length(std::string_view s) noexcept {
  // 18 digits are below 2^63 and can't overflow; with leading zeros there is no need for more either.
  if (s.empty() || s.size() > 18) return std::nullopt;
  std::uint64_t value = 0;
  for (char c : s) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

const Refusal* split_connection(std::string_view value, MessageHead& head) {
  while (!value.empty()) {
    const std::size_t comma = value.find(',');
    const std::string_view name = trim(value.substr(0, comma));
    value = comma == std::string_view::npos ? std::string_view{} : value.substr(comma + 1);
    if (name.empty()) continue;
    if (!is_token(name)) return &bad_value;
    head.connection_names.push_back(name);
  }
  return nullptr;
}

const Refusal* check_request_line(std::string_view line) noexcept {
  const std::size_t blank = line.rfind(' ');
  const std::string_view version =
      blank == std::string_view::npos ? std::string_view{} : line.substr(blank + 1);
  if (version == "HTTP/1.1" || version == "HTTP/1.0") return nullptr;
  const bool other = version.size() == 8 && version.starts_with("HTTP/") && version[6] == '.' &&
                     version[5] >= '0' && version[5] <= '9' && version[7] >= '0' && version[7] <= '9';
  return other ? &bad_version : &no_version;
}

// RFC 9112 3.2.2 makes servers take absolute-form, so it is reduced to origin-form; but only where its
// authority is the Host's. The RFC would let the target win; two names for one request are what smuggling
// feeds on.
const Refusal* reduce_absolute(RequestHead& head) {
  const std::size_t scheme_end = head.target.find("://");
  const std::string_view scheme = head.target.substr(0, scheme_end);
  if (scheme_end == std::string_view::npos || (!iequals(scheme, "http") && !iequals(scheme, "https"))) {
    return &bad_target;
  }
  const std::string_view rest = head.target.substr(scheme_end + 3);
  const std::size_t slash = rest.find('/');
  // Without a path there is no byte to point at as "/".
  if (slash == std::string_view::npos) return &bad_target;
  const std::string_view authority = rest.substr(0, slash);
  if (!is_authority(authority)) return &bad_target;
  if (head.host.empty()) {
    head.host = authority;  // HTTP/1.0 without Host
  } else if (!iequals(authority, head.host)) {
    return &target_not_host;
  }
  head.target = rest.substr(slash);
  return nullptr;
}

const Refusal* check_target(RequestHead& head) noexcept {
  if (head.method == "CONNECT") return &connect_method;
  if (!all(head.target, target_bit) || !escapes_are_sane(head.target)) return &bad_target;
  if (head.target == "*") {
    if (head.method != "OPTIONS") return &bad_target;
    head.path = head.target;
    return nullptr;
  }
  if (!head.target.starts_with('/')) {
    if (const Refusal* why = reduce_absolute(head)) return why;
  }
  const std::size_t mark = head.target.find('?');
  head.path = head.target.substr(0, mark);
  if (mark != std::string_view::npos) head.query = head.target.substr(mark + 1);
  return nullptr;
}

}  // namespace head_rules

}  // namespace tidegate::http
