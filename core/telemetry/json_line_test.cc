#include "telemetry/json_line.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

namespace tidegate::telemetry {
namespace {

using nlohmann::json;

TEST_CASE("members of all kinds make one JSON object on one line") {
  char buffer[512];
  JsonLine line(buffer, sizeof buffer);
  line.text("t", "x");
  line.integer("i", -5);
  line.number("n", 1.25);
  line.number("nan", NAN);
  line.boolean("b", true);
  line.begin_array("a");
  line.begin_object();
  line.integer("k", 1);
  CHECK(line.end_object());
  line.begin_object();
  line.text("k", "2");
  CHECK(line.end_object());
  line.end_array();
  line.integer("z", 0);
  CHECK(
      std::string(buffer, line.finish()) ==
      "{\"t\":\"x\",\"i\":-5,\"n\":1.250,\"nan\":null,\"b\":true,\"a\":[{\"k\":1},{\"k\":\"2\"}],\"z\":0}\n");
  CHECK_FALSE(line.truncated());
}

TEST_CASE("quotes, control characters and bytes that are no UTF-8 are made harmless") {
  char buffer[512];
  JsonLine line(buffer, sizeof buffer);
  line.text("v", std::string_view("a\"\\\n\0\x7f\xff\xc3\xa4\xed\xa0\x80\xc0\xaf", 14));
  const json read = json::parse(std::string(buffer, line.finish()));
  CHECK(read["v"] == std::string("a\"\\\n\0\x7f", 6) + "\ufffd\u00e4\ufffd\ufffd\ufffd\ufffd\ufffd");
}

TEST_CASE("a text is cut at its limit, never inside a character") {
  char buffer[512];
  JsonLine line(buffer, sizeof buffer);
  line.text("v", "ab\u00e4\u00e4", 5);
  CHECK(json::parse(std::string(buffer, line.finish()))["v"] == "ab\u00e4");
  CHECK(line.truncated());
}

TEST_CASE("whatever the buffer's size, the line is valid JSON and stays inside") {
  for (size_t size = 64; size < 400; ++size) {
    std::string buffer(size + 1, '#');
    JsonLine line(buffer.data(), size);
    line.text("first", "a\u20ac\"\n\x01xyz and more text");
    line.integer("number", 1234567890123);
    if (line.begin_array("list")) {
      for (int i = 0; i < 6; ++i) {
        line.begin_object();
        line.text("worker", "http://10.0.0.1:8000");
        line.boolean("ok", true);
        if (!line.end_object()) break;
      }
      line.end_array();
    }
    line.text("last", "text");
    line.number("tail", 2.5);
    const size_t length = line.finish();
    CAPTURE(size);
    REQUIRE(length <= size);
    CHECK(buffer[size] == '#');
    const json read = json::parse(buffer.substr(0, length), nullptr, false);
    REQUIRE_FALSE(read.is_discarded());
    for (const auto& leg : read.value("list", json::array())) CHECK(leg.size() == 2);
  }
}

TEST_CASE("times are printed as UTC with milliseconds") {
  char text[24];
  const auto at = [&](uint64_t ms) { return std::string(text, format_time(text, ms)); };
  CHECK(at(0) == "1970-01-01T00:00:00.000Z");
  CHECK(at(951782399999) == "2000-02-28T23:59:59.999Z");
  CHECK(at(951782400000) == "2000-02-29T00:00:00.000Z");
  CHECK(at(1767225599001) == "2025-12-31T23:59:59.001Z");
  CHECK(at(4107542400000) == "2100-03-01T00:00:00.000Z");
}

}  // namespace
}  // namespace tidegate::telemetry
