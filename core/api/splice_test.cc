#include "api/splice.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace tidegate::api {
namespace {

using Edits = std::vector<BodyEdit>;

BodyEdit set(std::string_view name, std::string_view value) { return {BodyEdit::Kind::set, name, value}; }
BodyEdit drop(std::string_view name) { return {BodyEdit::Kind::drop, name}; }

std::string edited(const std::string& body, const Edits& edits) {
  const std::string text = body + std::string(scan_padding, ' ');
  const std::string_view view = std::string_view(text).substr(0, body.size());
  BodyScanner scanner;
  BodyScan scan;
  ScanError error;
  REQUIRE(scanner.scan(view, PromptMember::none, scan, error));
  Splice splice;
  splice.apply(view, scan, edits);
  const Splice moved = std::move(splice);
  const std::string out = moved.join();
  CHECK(moved.total() == out.size());
  return out;
}

TEST_CASE("without edits a body stays as it is, in one slice") {
  const std::string body = " { \"a\" : 1 ,\n\"b\":[ ]\t} \n";
  CHECK(edited(body, {}) == body);
  CHECK(edited(body, {drop("c")}) == body);
}

TEST_CASE("set replaces a value and nothing around it") {
  CHECK(edited("{ \"a\" : 1 , \"b\" : 2 }", {set("a", "[true]")}) == "{ \"a\" : [true] , \"b\" : 2 }");
  CHECK(edited("{ \"a\" : 1 , \"b\" : 2 }", {set("b", " \"x\" ")}) == "{ \"a\" : 1 , \"b\" : \"x\" }");
  CHECK(edited("{\"a\":{\"b\":1},\"b\":2}", {set("b", "3")}) == "{\"a\":{\"b\":1},\"b\":3}");
}

TEST_CASE("set appends behind the last member") {
  CHECK(edited("{}", {set("a", "1")}) == "{\"a\":1}");
  CHECK(edited(" { } ", {set("a", "1")}) == " {\"a\":1 } ");
  CHECK(edited("{\"a\":1}", {set("b", "2"), set("c", "3")}) == "{\"a\":1,\"b\":2,\"c\":3}");
  CHECK(edited("{\"a\":1\n}", {set("b", "2")}) == "{\"a\":1,\"b\":2\n}");
}

TEST_CASE("drop takes the member and one comma, in every position") {
  const std::string body = "{ \"a\":1, \"b\":2, \"c\":3 }";
  CHECK(edited(body, {drop("a")}) == "{ \"b\":2, \"c\":3 }");
  CHECK(edited(body, {drop("b")}) == "{ \"a\":1, \"c\":3 }");
  CHECK(edited(body, {drop("c")}) == "{ \"a\":1, \"b\":2 }");
  CHECK(edited(body, {drop("a"), drop("b")}) == "{ \"c\":3 }");
  CHECK(edited(body, {drop("b"), drop("c")}) == "{ \"a\":1 }");
  CHECK(edited(body, {drop("a"), drop("c")}) == "{ \"b\":2 }");
  CHECK(edited(body, {drop("a"), drop("b"), drop("c")}) == "{  }");
  CHECK(edited("{\"a\":1}", {drop("a")}) == "{}");
}

TEST_CASE("drop and set together") {
  CHECK(edited("{\"a\":1}", {drop("a"), set("b", "2")}) == "{\"b\":2}");
  CHECK(edited("{\"a\":1,\"b\":2}", {drop("b"), set("c", "3")}) == "{\"a\":1,\"c\":3}");
  CHECK(edited("{\"a\":1,\"b\":2}", {drop("a"), set("b", "3")}) == "{\"b\":3}");
  CHECK(edited("{\"a\":1,\"b\":2,\"c\":3}", {set("a", "x1"), drop("b"), set("c", "x3")}) ==
        "{\"a\":x1,\"c\":x3}");
}

TEST_CASE("names are compared unescaped and escaped when they are inserted") {
  CHECK(edited(R"({"mod\u0065l":"x"})", {set("model", "\"y\"")}) == R"({"mod\u0065l":"y"})");
  CHECK(edited(R"({"a\"b":1,"c":2})", {drop("a\"b")}) == R"({"c":2})");
  CHECK(edited("{}", {set("a\"\\\n\x01", "1")}) == R"({"a\"\\\n\u0001":1})");
  CHECK(edited("{}", {set("", "1")}) == R"({"":1})");
}

TEST_CASE("of members with one name, a set keeps the last, a drop none") {
  CHECK(edited("{\"x\":1,\"y\":0,\"x\":2}", {set("x", "3")}) == "{\"y\":0,\"x\":3}");
  CHECK(edited("{\"x\":1,\"y\":0,\"x\":2}", {drop("x")}) == "{\"y\":0}");
  CHECK(edited("{\"x\":1,\"x\":2}", {drop("x")}) == "{}");
}

TEST_CASE("of edits with one name, the last counts") {
  CHECK(edited("{\"x\":1}", {set("x", "2"), set("x", "3")}) == "{\"x\":3}");
  CHECK(edited("{\"x\":1}", {set("x", "2"), drop("x")}) == "{}");
  CHECK(edited("{\"x\":1}", {drop("x"), set("x", "2")}) == "{\"x\":2}");
  CHECK(edited("{}", {set("x", "2"), drop("x")}) == "{}");
  CHECK(edited("{}", {drop("x"), set("x", "2")}) == "{\"x\":2}");
}

TEST_CASE("huge values pass as slices") {
  const std::string big(3'000'000, 'x');
  const std::string body = "{\"a\":\"" + big + "\",\"b\":1}";
  CHECK((edited(body, {set("b", "2")}) == "{\"a\":\"" + big + "\",\"b\":2}"));
  CHECK((edited("{\"a\":1}", {set("a", "\"" + big + "\"")}) == "{\"a\":\"" + big + "\"}"));
}

TEST_CASE("random edits of random objects agree with an object that is edited") {
  std::mt19937 random(4);
  const std::vector<std::string> names{"a", "b", "c", "d", "e\"e"};
  for (int round = 0; round < 3000; ++round) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const std::string& name : names) {
      if (random() % 2 == 0) object[name] = {{"n", random() % 10}, {"s", "],}{"}};
    }
    const std::string body = random() % 2 == 0 ? object.dump() : object.dump(2);
    Edits edits;
    for (unsigned count = random() % 5; count > 0; --count) {
      const std::string& name = names[random() % names.size()];
      edits.push_back(random() % 2 == 0 ? drop(name) : set(name, "7"));
    }
    const std::string out = edited(body, edits);
    for (const BodyEdit& edit : edits) {
      object.erase(std::string(edit.name));
      if (edit.kind == BodyEdit::Kind::set) object[std::string(edit.name)] = 7;
    }
    CAPTURE(out);
    REQUIRE(nlohmann::json::parse(out) == nlohmann::json::parse(object.dump()));
  }
}

TEST_CASE("edit values from outside are checked to be one JSON value") {
  CHECK(valid_edit_value("{\"a\":[1,null]}"));
  CHECK(valid_edit_value("1"));
  CHECK_FALSE(valid_edit_value(""));
  CHECK_FALSE(valid_edit_value("1,\"x\":2"));
  CHECK_FALSE(valid_edit_value("1}"));
}

}  // namespace
}  // namespace tidegate::api
