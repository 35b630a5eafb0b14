#include <doctest/doctest.h>

#include <string>

#include <nlohmann/json.hpp>

#include "engine/service_fixture.h"

namespace {

using namespace tidegate::engine;           // NOLINT: a test reads better so
using namespace tidegate::engine::testing;  // NOLINT: likewise
using Json = nlohmann::json;

}  // namespace

TEST_CASE("a chat answer has text, a finish reason and usage with cached tokens") {
  Engine engine;
  Client client(engine);
  const Json answer = Json::parse(client.call("/v1/chat/completions", chat));
  CHECK(answer["object"] == "chat.completion");
  CHECK(answer["choices"][0]["message"]["role"] == "assistant");
  CHECK(count_of(answer["choices"][0]["message"]["content"].get<std::string>(), " ") == 6);
  CHECK(answer["choices"][0]["finish_reason"] == "length");
  CHECK(answer["usage"]["completion_tokens"] == 7);
  CHECK(answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0);
}

TEST_CASE("the same seed and prompt give the same words; another seed gives others") {
  const auto say = [](std::uint64_t seed) {
    EngineOptions options = fast();
    options.model.seed = seed;
    Engine engine(options);
    Client client(engine);
    return Json::parse(client.call("/v1/chat/completions", chat))["choices"][0]["message"]["content"]
        .get<std::string>();
  };
  CHECK(say(1) == say(1));
  CHECK(say(1) != say(2));
}

TEST_CASE("a stream begins with the role, ends with [DONE], and its pieces make up the plain answer") {
  Engine engine;
  Client client(engine);
  client.post("/v1/chat/completions", stream);
  const std::string got = client.read_until("0\r\n\r\n");
  CHECK(got.find("Content-Type: text/event-stream") != std::string::npos);
  std::string text;
  std::size_t events = 0;
  for (std::size_t at = got.find("data: {"); at != std::string::npos; at = got.find("data: {", at + 1)) {
    const Json event = Json::parse(got.substr(at + 6, got.find("\n\n", at) - at - 6));
    CHECK(event["object"] == "chat.completion.chunk");
    if (events++ == 0) CHECK(event["choices"][0]["delta"]["role"] == "assistant");
    text += event["choices"][0]["delta"].value("content", "");
  }
  CHECK(got.find("data: [DONE]\n\n") != std::string::npos);
  CHECK(got.find("\"usage\"") == std::string::npos);
  const Json plain = Json::parse(client.call("/v1/chat/completions", chat));
  CHECK(text == plain["choices"][0]["message"]["content"].get<std::string>());
}

TEST_CASE("a stream ends with usage when it is asked for") {
  Engine engine;
  Client client(engine);
  Json request = Json::parse(stream);
  request["stream_options"]["include_usage"] = true;
  client.post("/v1/chat/completions", request.dump());
  CHECK(client.read_until("0\r\n\r\n").find(R"("choices":[],"usage":{)") != std::string::npos);
}

TEST_CASE("/generate streams cumulative text with meta_info") {
  Engine engine;
  Client client(engine);
  client.post("/generate", R"({"text":"tide","stream":true,"sampling_params":{"max_new_tokens":2}})");
  const std::string got = client.read_until("0\r\n\r\n");
  const std::size_t first = got.find("data: {"), second = got.find("data: {", first + 1);
  const auto parse = [&](std::size_t at) {
    return Json::parse(got.substr(at + 6, got.find("\n\n", at) - at - 6));
  };
  const std::string one = parse(first)["text"], both = parse(second)["text"];
  CHECK(both.starts_with(one));
  CHECK(both.size() > one.size());
  CHECK(parse(first)["meta_info"]["finish_reason"].is_null());
  CHECK(parse(second)["meta_info"]["finish_reason"]["type"] == "length");
}

TEST_CASE("a prompt seen before is reported as cached") {
  Engine engine;
  Client client(engine);
  Json request = Json::parse(chat);
  request["messages"][0]["content"] = std::string(4000, 'x');
  client.call("/v1/chat/completions", request.dump());
  const Json again = Json::parse(client.call("/v1/chat/completions", request.dump()));
  CHECK(again["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>() >= 992);
}

TEST_CASE("flavors differ in owner, information endpoints, metric names and error envelopes") {
  Engine sglang;
  Client one(sglang);
  CHECK(one.get("/v1/models").find(R"("owned_by":"sglang")") != std::string::npos);
  CHECK(Json::parse(one.get("/get_server_info"))["model_path"] == "llama-3-8b");
  CHECK(one.get("/metrics").find("sglang:num_queue_reqs{") != std::string::npos);
  CHECK(Json::parse(one.call("/v1/chat/completions", "{"))["object"] == "error");
  one.get("/version");
  CHECK(one.got().starts_with("HTTP/1.1 404"));

  Engine vllm(fast(Flavor::vllm));
  Client other(vllm);
  CHECK(other.get("/v1/models").find(R"("owned_by":"vllm")") != std::string::npos);
  CHECK(Json::parse(other.get("/version")).contains("version"));
  CHECK(other.get("/metrics").find("vllm:num_requests_waiting{") != std::string::npos);
  CHECK(Json::parse(other.call("/v1/chat/completions", "{")).contains("error"));
  other.get("/server_info");
  CHECK(other.got().starts_with("HTTP/1.1 404"));
}

TEST_CASE("vLLM tells answers cut by their length from those that ended") {
  Engine engine(fast(Flavor::vllm));
  Client client(engine);
  Json request = Json::parse(chat);
  request["ignore_eos"] = true;
  client.call("/v1/chat/completions", request.dump());
  const std::string text = client.get("/metrics");
  CHECK(text.find("finished_reason=\"length\"} 1\n") != std::string::npos);
  CHECK(text.find("finished_reason=\"stop\"} 0\n") != std::string::npos);
  CHECK(count_of(text, "# TYPE vllm:request_success_total ") == 1);
}

TEST_CASE("SGLang tells how many tokens a second it makes") {
  Engine engine;
  Client client(engine);
  CHECK(client.get("/metrics").find("sglang:gen_throughput{") != std::string::npos);
}

TEST_CASE("vLLM knows its models by name") {
  Engine engine(fast(Flavor::vllm));
  Client client(engine);
  client.call("/v1/chat/completions", R"({"model":"gpt-9","messages":[{"role":"user","content":"x"}]})");
  CHECK(client.got().starts_with("HTTP/1.1 404"));
  CHECK(client.got().find("The model `gpt-9` does not exist.") != std::string::npos);
}

TEST_CASE("what was received can be looked at byte for byte") {
  Engine engine;
  Client client(engine);
  client.exchange(
      "POST /v1/chat/completions?a=b HTTP/1.1\r\nhOsT: engine\r\nX-Odd:   two  blanks\r\n"
      "Content-Length: 2\r\n\r\n{}");
  const Json log = Json::parse(client.get("/debug/requests"));
  REQUIRE(log.size() == 1);
  CHECK(log[0]["target"] == "/v1/chat/completions?a=b");
  CHECK(log[0]["body_bytes"] == 2);
  CHECK(log[0]["body_base64"] == "e30=");
  // "POST ... HTTP/1.1\r\nhOsT: engine\r\nX-Odd:   two  blanks\r\nContent-Length: 2"
  CHECK(log[0]["head_base64"] ==
        "UE9TVCAvdjEvY2hhdC9jb21wbGV0aW9ucz9hPWIgSFRUUC8xLjENCmhPc1Q6IGVuZ2luZQ0KWC1PZGQ6ICAgdHdvICBibGFua3MN"
        "CkNv"
        "bnRlbnQtTGVuZ3RoOiAy");
}

TEST_CASE("a client that goes away frees its place") {
  Engine engine;
  Client client(engine);
  client.post("/v1/chat/completions", long_stream);
  client.read_until("data: ");
  REQUIRE(engine.counters().open_streams == 1);
  client.close();
  engine.run_until([&] { return engine.counters().aborted == 1; });
  CHECK(engine.counters().open_streams == 0);
  CHECK(engine.model().running() == 0);
}

TEST_CASE("abort_request ends an answer with finish reason abort") {
  Engine engine;
  Client client(engine), other(engine);
  client.post("/generate", R"({"text":"x","rid":"me","stream":true,)"
                           R"("sampling_params":{"max_new_tokens":100000,"ignore_eos":true}})");
  client.read_until("data: ");
  other.call("/abort_request", R"({"rid":"me"})");
  CHECK(other.got().starts_with("HTTP/1.1 200"));
  CHECK(client.read_until("0\r\n\r\n").find(R"("type":"abort")") != std::string::npos);
  CHECK(engine.model().running() == 0);
}

TEST_CASE("a full queue answers 503") {
  EngineOptions options = fast();
  options.model.max_queue = 0;
  Engine engine(options);
  Client client(engine);
  client.call("/v1/chat/completions", chat);
  CHECK(client.got().starts_with("HTTP/1.1 503"));
}

TEST_CASE("a slow reader's tokens wait as a count, and all of them come in the end") {
  EngineOptions options = fast();
  options.model.speed = 1e6;
  Engine engine(options);
  Client client(engine);
  client.post("/v1/chat/completions", R"({"max_tokens":60000,"ignore_eos":true,"stream":true,)"
                                      R"("messages":[{"role":"user","content":"x"}]})");
  engine.run_until([&] { return engine.model().counters().finished == 1; });  // nobody has read so far
  CHECK(engine.counters().open_streams == 1);
  CHECK(count_of(client.read_until("0\r\n\r\n"), R"("content":)") == 60'001);
}
