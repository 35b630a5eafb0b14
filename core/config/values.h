// What: the small value formats of the configuration: sizes, durations, addresses, model globs, and the
// nearest known word. Threads: pure functions; glob_match is also fit for I/O threads (no allocation).
// Ownership: results by value; views are borrowed for the call.
// Errors: an empty optional, or a text in ParsedAddress::error that says what was expected and what to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidegate::config {

// "0.0.0.0:30000", "[::]:80", ":30000" (all interfaces), "localhost:0". `off` is an address that is not
// listened on.
struct Address {
  std::string host;  // without brackets; "0.0.0.0" for ":port"
  std::uint16_t port = 0;
  bool off = false;

  bool is_loopback() const;       // 127.0.0.0/8, ::1 or localhost
  std::string to_string() const;  // "[::1]:80"; "off"
  friend bool operator==(const Address&, const Address&) = default;
};

struct ParsedAddress {
  std::optional<Address> address;
  std::string error;
};
ParsedAddress parse_address(std::string_view text);

// "64MiB", "10k", "1.5GiB", "4096": k, M, G, T are powers of 1000; Ki, Mi, Gi, Ti of 1024; a final B is
// optional.
std::optional<std::uint64_t> parse_size(std::string_view text);
std::string format_size(std::uint64_t bytes);

// "250ms", "5s", "2m", "1h", "1.5s", "1m30s"; only 0 needs no unit. Whole milliseconds, at most ten years.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
std::string format_duration(std::chrono::milliseconds duration);

// By the YAML 1.2 core rules: decimal, 0x and 0o integers that fit 64 bits; decimal fractions.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

// '*' any run, also empty; '?' one byte; everything else stands for itself. Case counts. Linear-ish, no
// recursion.
bool glob_match(std::string_view pattern, std::string_view text) noexcept;

// The known word nearest to `word` by edit distance (a swap of neighbours counts as one), "" when none is
// near.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace tidegate::config
