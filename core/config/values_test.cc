#include "config/values.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace tidegate::config {

TEST_CASE("a size is a number with an optional power of 1000 or 1024") {
  const std::vector<std::pair<std::string, std::uint64_t>> good{
      {"0", 0},           {"4096", 4096},       {"10k", 10'000},
      {"10K", 10'000},    {"64MiB", 64u << 20}, {"64Mi", 64u << 20},
      {"1GiB", 1u << 30}, {"1.5KiB", 1536},     {"2MB", 2'000'000},
      {"3b", 3},          {"1TiB", 1ull << 40}};
  for (const auto& [text, bytes] : good) {
    CAPTURE(text);
    CHECK(parse_size(text) == bytes);
  }
  for (const std::string text :
       {"", "k", "-1", "1 k", "1x", "1kk", "1Kib2", "1.", ".5k", "99999999999999999999", "9999999T"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text));
  }
}

TEST_CASE("a size is printed in the largest power of 1024 that keeps it exact") {
  CHECK(format_size(0) == "0");
  CHECK(format_size(1000) == "1000");
  CHECK(format_size(64u << 20) == "64MiB");
  CHECK(format_size(1536) == "1536");
}

TEST_CASE("a duration needs a unit, may combine them, and is whole milliseconds") {
  const std::vector<std::pair<std::string, std::chrono::milliseconds>> good{
      {"0", 0ms}, {"0s", 0ms},      {"250ms", 250ms}, {"5s", 5s}, {"2m", 2min},
      {"1h", 1h}, {"1.5s", 1500ms}, {"1m30s", 90s},   {"1d", 24h}};
  for (const auto& [text, duration] : good) {
    CAPTURE(text);
    CHECK(parse_duration(text) == duration);
  }
  for (const std::string text : {"", "5", "s", "-5s", "5 s", "5x", "0.5ms", "5s3", "99999d"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_duration(text));
  }
}

TEST_CASE("a duration is printed in the largest unit that keeps it exact") {
  CHECK(format_duration(0ms) == "0");
  CHECK(format_duration(250ms) == "250ms");
  CHECK(format_duration(75s) == "75s");
  CHECK(format_duration(5min) == "5m");
  CHECK(format_duration(24h) == "24h");
}

TEST_CASE("an address has a host, or all interfaces, and a port") {
  const std::vector<std::pair<std::string, Address>> good{{"0.0.0.0:30000", {"0.0.0.0", 30000}},
                                                          {":30000", {"0.0.0.0", 30000}},
                                                          {"[::]:80", {"::", 80}},
                                                          {"[::1]:0", {"::1", 0}},
                                                          {"gateway-1.local:1", {"gateway-1.local", 1}},
                                                          {"off", {"", 0, true}}};
  for (const auto& [text, address] : good) {
    CAPTURE(text);
    const auto parsed = parse_address(text);
    REQUIRE(parsed.address);
    CHECK(*parsed.address == address);
  }
}

TEST_CASE("what is no address is refused with what to do") {
  const std::vector<std::pair<std::string, std::string>> bad{
      {"unix:/run/x", ": unix sockets are not supported; listen on loopback instead: 127.0.0.1:30000"},
      {"/run/x", ": unix sockets are not supported; listen on loopback instead: 127.0.0.1:30000"},
      {"30000", "; write ':30000' for all interfaces"},
      {"localhost", "; add a port"},
      {"http://a:80", "; leave out the scheme"},
      {"::1:80", "; put an IPv6 address in brackets"},
      {"[::g]:80", ": not an IPv6 address"},
      {"1.2.3:80", ": not an IPv4 address or a host name"},
      {"a b:80", ": not an IPv4 address or a host name"},
      {"a:65536", "; the port is a number from 0 to 65535"},
      {"a:", "; the port is a number from 0 to 65535"}};
  for (const auto& [text, end] : bad) {
    const auto parsed = parse_address(text);
    CHECK_FALSE(parsed.address);
    CHECK(parsed.error ==
          "expected an address such as 0.0.0.0:30000, [::]:30000, :30000 or off, found '" + text + "'" + end);
  }
}

TEST_CASE("an address prints as it is written and knows loopback") {
  CHECK(Address{"::1", 80}.to_string() == "[::1]:80");
  CHECK(Address{"::1", 80}.is_loopback());
  CHECK(Address{"127.8.9.1", 80}.is_loopback());
  CHECK_FALSE(Address{"0.0.0.0", 80}.is_loopback());
  CHECK_FALSE(Address{"127.evil.example", 80}.is_loopback());
}

TEST_CASE("a glob matches whole names") {
  CHECK(glob_match("*", ""));
  CHECK(glob_match("deepseek-*", "deepseek-v3"));
  CHECK(glob_match("*-8b", "llama-8b-8b"));
  CHECK(glob_match("a*b*c", "a__b_b_c"));
  CHECK(glob_match("a?c", "abc"));
  CHECK(glob_match("a**", "a"));
  CHECK(glob_match("[x]", "[x]"));
  CHECK_FALSE(glob_match("", "a"));
  CHECK_FALSE(glob_match("a?c", "ac"));
  CHECK_FALSE(glob_match("deepseek-*", "Deepseek-v3"));
  CHECK_FALSE(glob_match("a*b", "abc"));
}

TEST_CASE("the nearest word is a small slip away") {
  const std::vector<std::string> known{"plugin", "config", "first_byte"};
  CHECK(nearest("plugn", known) == "plugin");
  CHECK(nearest("pulgin", known) == "plugin");
  CHECK(nearest("Config", known) == "config");
  CHECK(nearest("first-byte", known) == "first_byte");
  CHECK(nearest("banana", known).empty());
}

TEST_CASE("numbers are read by the core rules") {
  CHECK(parse_integer("-12") == -12);
  CHECK(parse_integer("+7") == 7);
  CHECK(parse_integer("0x1f") == 31);
  CHECK(parse_integer("0o17") == 15);
  for (const std::string text : {"", "+", "+-1", "1_000", "0x", "-0x1", "9223372036854775808"})
    CHECK_FALSE(parse_integer(text));
  CHECK(parse_number("1e3") == 1000);
  CHECK(parse_number(".5") == 0.5);
  for (const std::string text : {"inf", "nan", ".", "e3", "1e999", "0.5.1"}) CHECK_FALSE(parse_number(text));
}

}  // namespace tidegate::config
