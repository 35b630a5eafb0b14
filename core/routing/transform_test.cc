#include "routing/transform.h"

#include <doctest/doctest.h>

using tidegate::routing::Transformer;

namespace {

// Upper-cases "a" to "A", drops events that say "drop", refuses to touch "keep".
bool apply(std::string_view data, bool, bool last, std::string& out) {
  if (last && data.empty()) return out = "end", true;
  if (data == "keep") return false;
  if (data == "drop") return true;
  for (char c : data) out += c == 'a' ? 'A' : c;
  return true;
}

std::string through(std::string_view text, std::size_t piece, bool events) {
  Transformer transformer(events, apply);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += piece)
    REQUIRE(transformer.feed(text.substr(at, piece), out));
  transformer.end(out);
  return out;
}

}  // namespace

TEST_CASE("an event stream is transformed alike wherever it is cut") {
  const std::string stream =
      "data: abc\n\n: comment\n\nevent: x\ndata: a\ndata: b\n\ndata: drop\n\ndata: keep\n\ndata: a\r\n\r\n";
  const std::string expected =
      "data: Abc\n\n: comment\n\nevent: x\ndata: A\ndata: b\n\ndata: keep\n\ndata: A\n\ndata: end\n\n";
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    CAPTURE(piece);
    CHECK(through(stream, piece, true) == expected);
  }
}

TEST_CASE("a JSON body is transformed once, whole") {
  CHECK(through(R"({"a":1})", 2, false) == R"({"A":1})");
  CHECK(through("keep", 1, false) == "keep");
}

TEST_CASE("a body that can't be held is refused") {
  Transformer transformer(false, apply);
  std::string out;
  const std::string piece(1u << 20, 'x');
  bool ok = true;
  for (int i = 0; i < 17 && ok; ++i) ok = transformer.feed(piece, out);
  CHECK_FALSE(ok);
}

TEST_CASE("what is held is not searched again from its beginning with every piece") {
  // Twice over, a search from the start each time would look at 10^12 bytes.
  Transformer transformer(true, apply);
  const std::string line = "data: " + std::string(250, 'x') + "\n";
  std::string out;
  for (int i = 0; i < 60'000; ++i) REQUIRE(transformer.feed(line, out));
  CHECK(out.empty());
  REQUIRE(transformer.feed("\n", out));
  CHECK(out.size() == 60'000 * line.size() + 1);
  out.clear();
  REQUIRE(transformer.feed("data: ", out));
  for (int i = 0; i < 120'000; ++i) REQUIRE(transformer.feed("of a line that does not end, a piece", out));
  CHECK(out.empty());
  REQUIRE(transformer.feed("\n\ndata: abc\n\n", out));
  CHECK(out.ends_with("data: Abc\n\n"));
}

TEST_CASE("what is held is charged to the budget of all bodies, and given back") {
  tidegate::http::BodyBudget budget(1u << 20);
  {
    Transformer transformer(true, apply, &budget);
    std::string out;
    REQUIRE(transformer.feed("data: a\n\ndata: ", out));
    CHECK(budget.used() == 0);
    REQUIRE(transformer.feed(std::string(500'000, 'x'), out));
    CHECK(budget.used() > 400'000);
    REQUIRE(transformer.feed("\n\n", out));
    CHECK(budget.used() == 0);
    REQUIRE(transformer.feed(std::string(1'000'000, 'x'), out));
    CHECK_FALSE(transformer.feed(std::string(100'000, 'x'), out));
  }
  CHECK(budget.used() == 0);
}
