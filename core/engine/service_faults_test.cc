#include <doctest/doctest.h>

#include <string>

#include "engine/service_fixture.h"

namespace {

using namespace tidegate::engine;           // NOLINT: a test reads better so
using namespace tidegate::engine::testing;  // NOLINT: likewise

EngineOptions with_fault(std::string_view name, std::string_view value = "1") {
  EngineOptions options = fast();
  REQUIRE(options.faults.set(name, value).empty());
  options.faults.after = 2;
  return options;
}

}  // namespace

TEST_CASE("fault refuse: connections are refused until it ends") {
  Engine engine;
  Client keeper(engine);
  keeper.call("/debug/faults", R"({"refuse":true})");
  CHECK_FALSE(Client(engine).connected());
  keeper.call("/debug/faults", R"({"refuse":false})");
  CHECK(Client(engine).connected());
}

TEST_CASE("fault refuse for a time ends by itself") {
  Engine engine;
  Client keeper(engine);
  keeper.call("/debug/faults", R"({"refuse":true,"refuse_for_ms":20})");
  CHECK_FALSE(Client(engine).connected());
  engine.run_until([&] { return !engine.server.service().faults().refuse; });
  CHECK(Client(engine).connected());
}

TEST_CASE("fault status: with and without Retry-After, also for health when `all` is set") {
  Engine engine(with_fault("status_rate"));
  Client client(engine);
  client.call("/v1/chat/completions", chat);
  CHECK(client.got().starts_with("HTTP/1.1 500"));
  CHECK(client.got().find("Retry-After") == std::string::npos);
  client.get("/health");
  CHECK(client.got().starts_with("HTTP/1.1 200"));
  client.call("/debug/faults", R"({"status":429,"retry_after":7,"all":true})");
  client.get("/health");
  CHECK(client.got().starts_with("HTTP/1.1 429"));
  CHECK(client.got().find("Retry-After: 7\r\n") != std::string::npos);
}

TEST_CASE("fault reset_before_head: not a byte, then RST") {
  Engine engine(with_fault("reset_before_head"));
  Client client(engine);
  client.post("/v1/chat/completions", chat);
  CHECK(client.read_to_end().empty());
  CHECK(client.was_reset());
}

TEST_CASE("fault garbage: bytes that are no HTTP, then the end") {
  Engine engine(with_fault("garbage"));
  Client client(engine);
  client.post("/v1/chat/completions", chat);
  CHECK(client.read_to_end().starts_with("ICY 200 OK\n"));
}

TEST_CASE("fault hang: the request is held and nothing comes") {
  Engine engine(with_fault("hang"));
  Client client(engine);
  client.post("/v1/chat/completions", chat);
  engine.run_until([&] { return engine.counters().open == 1; });
  CHECK(engine.model().running() + engine.model().waiting() == 0);
  client.close();
  engine.run_until([&] { return engine.counters().aborted == 1; });
  CHECK(engine.counters().open == 0);
}

TEST_CASE("fault hang_body: a head and no more") {
  Engine engine(with_fault("hang_body"));
  Client client(engine);
  client.post("/v1/chat/completions", stream);
  CHECK(client.read_until("\r\n\r\n").ends_with("\r\n\r\n"));
  CHECK(engine.counters().open == 1);
}

TEST_CASE("fault stall: so many tokens, then silence on an open connection") {
  Engine engine(with_fault("stall"));
  Client client(engine);
  client.post("/v1/chat/completions", stream);
  engine.run_until([&] { return engine.model().counters().steps > 0 && engine.model().running() == 0; });
  const std::string& got = client.read_until("data: ");  // all that will ever come
  CHECK(count_of(got, R"("content":)") == 3);            // the role's empty one, and two tokens
  CHECK_FALSE(client.at_end());
}

TEST_CASE("fault reset: so many tokens, then RST") {
  Engine engine(with_fault("reset"));
  Client client(engine);
  client.post("/v1/chat/completions", stream);
  client.read_to_end();
  CHECK(client.was_reset());
  CHECK(engine.model().running() == 0);
}

TEST_CASE("fault close: FIN in the middle of a chunk") {
  Engine engine(with_fault("close"));
  Client client(engine);
  client.post("/v1/chat/completions", stream);
  CHECK(client.read_to_end().ends_with("fff\r\ndata: {\"id\":"));
  CHECK_FALSE(client.was_reset());
}

TEST_CASE("a plain answer breaks off in the middle of its announced length") {
  Engine engine(with_fault("close"));
  Client client(engine);
  client.post("/v1/chat/completions", chat);
  const std::string& got = client.read_to_end();
  const std::size_t head = got.find("\r\n\r\n") + 4;
  CHECK(got.size() - head < std::stoul(got.substr(got.find("Content-Length: ") + 16)));
}
