#include "http/buffer.h"

#include <cstring>
#include <string>
#include <utility>

#include <doctest/doctest.h>

namespace tidegate::http {
namespace {

TEST_CASE("a byte buffer is a queue that holds no memory while empty") {
  ByteBuffer buffer;
  std::string expected;
  for (int i = 0; i < 500; ++i) {
    const std::string piece(static_cast<std::size_t>(i % 37), static_cast<char>('a' + i % 26));
    REQUIRE(buffer.append(piece));
    expected += piece;
    const std::size_t out = static_cast<std::size_t>(i % 29) % (buffer.size() + 1);
    REQUIRE(buffer.view().substr(0, out) == std::string_view(expected).substr(0, out));
    if (out != 0) buffer.consume(out);
    expected.erase(0, out);
  }
  CHECK(buffer.view() == expected);
  CHECK(buffer.capacity() < 4 * expected.size() + 256);
  buffer.consume(buffer.size());
  CHECK(buffer.capacity() == 0);
}

TEST_CASE("a body of known length is reserved once and never moves") {
  BodyBudget budget(1 << 20);
  Body body(&budget, 10'000);
  REQUIRE(body.append("first") == Body::Status::ok);
  const char* at = body.data();
  CHECK(body.capacity() == 10'000);
  CHECK(budget.used() == 5);
  const std::span<char> room = body.room(9'995);
  REQUIRE(room.size() == 9'995);
  std::memset(room.data(), 'x', room.size());
  REQUIRE(body.commit(9'995) == Body::Status::ok);
  CHECK(body.data() == at);
  CHECK(budget.used() == 10'000);
}

TEST_CASE("a small body takes the memory of the one before it") {
  const char* before = nullptr;
  for (const std::size_t size : {1000u, 10u, 4096u}) {
    Body body(nullptr, size);
    REQUIRE(body.append(std::string(size, 'x')) == Body::Status::ok);
    body.seal();
    if (before != nullptr) CHECK(body.data() == before);
    before = body.data();
  }
}

TEST_CASE("a small body that outgrows its memory keeps its bytes") {
  Body body(nullptr, 4096);
  REQUIRE(body.append(std::string(4096, 'a')) == Body::Status::ok);
  REQUIRE(body.append("b") == Body::Status::ok);
  CHECK(body.view() == std::string(4096, 'a') + "b");
}

TEST_CASE("a sealed body has zeroed padding behind it") {
  Body body;
  REQUIRE(body.append("{}") == Body::Status::ok);
  body.seal();
  for (std::size_t i = 0; i < Body::padding; ++i) CHECK(body.data()[body.size() + i] == 0);
}

TEST_CASE("a body of unknown length keeps its bytes while it grows") {
  Body body;
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string piece = std::to_string(i) + ",";
    REQUIRE(body.append(piece) == Body::Status::ok);
    expected += piece;
  }
  CHECK(body.view() == expected);
}

TEST_CASE("the budget refuses what goes beyond it and gets back what dies, also after a move") {
  BodyBudget budget(100);
  Body first(&budget);
  REQUIRE(first.append(std::string(80, 'a')) == Body::Status::ok);
  Body second(&budget);
  CHECK(second.append(std::string(21, 'b')) == Body::Status::over_budget);
  CHECK(second.append(std::string(20, 'b')) == Body::Status::ok);
  {
    Body moved = std::move(first);
    CHECK(budget.used() == 100);
  }
  CHECK(budget.used() == 20);
  second = Body();
  CHECK(budget.used() == 0);
}

}  // namespace
}  // namespace tidegate::http
