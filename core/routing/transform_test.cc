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
