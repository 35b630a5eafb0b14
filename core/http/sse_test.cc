#include "http/sse.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

namespace tidegate::http {
namespace {

struct Sample {
  const char* name;
  std::string text;
  StreamStats expected;
};

constexpr std::int64_t unknown = TokenUsage::unknown;

std::string chat(const std::string& delta, const std::string& rest = "") {
  return R"({"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":)" + delta +
         R"(,"finish_reason":null}])" + rest + "}";
}

std::string event(const std::string& data) { return "data: " + data + "\n\n"; }

const std::string role = chat(R"({"role":"assistant","content":""})");
const std::string usage_only =
    R"({"id":"c","choices":[],"usage":{"prompt_tokens":11,"total_tokens":16,"completion_tokens":5,)"
    R"("prompt_tokens_details":{"cached_tokens":7}}})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::vector<Sample> corpus() {
  std::vector<Sample> all;
  const std::string openai = event(role) + event(chat(R"({"content":"Hel"})")) +
                             event(chat(R"({"content":"lo"})")) + event(usage_only) + event("[DONE]");
  const StreamStats openai_stats{5, 2, 0, true, {11, 5, 7}};
  all.push_back({"chat, usage-only last event", openai, openai_stats});
  all.push_back({"CR LF line ends", replaced(openai, "\n", "\r\n"), openai_stats});
  all.push_back({"CR line ends", replaced(openai, "\n", "\r"), openai_stats});
  all.push_back({"no blank behind the colon", replaced(openai, "data: ", "data:"), openai_stats});
  all.push_back({"byte order mark", "\xef\xbb\xbf" + openai, openai_stats});
  all.push_back({"comments and retry between",
                 ": keep-alive\n\n:\n" + replaced(openai, "\n\n", "\n:x\n\nretry: 5\n\n"), openai_stats});
  all.push_back(
      {"ids and unknown fields", replaced(openai, "data: ", "id: 1\nx\ndatax: y\ndata: "), openai_stats});
  all.push_back({"multi-line data", replaced(openai, ",", ",\ndata: "), openai_stats});
  all.push_back({"a stream that ends inside an event", openai + "data: {\"a\":1}\n", openai_stats});
  all.push_back({"usage null in every event",
                 event(chat(R"({"content":"a"})", R"(,"usage":null)")) +
                     event(chat(R"({"content":"b"})", R"(,"usage": null)")) + event("[DONE]"),
                 {3, 2, 0, true, {}}});
  all.push_back({"usage in every event, the last counts",
                 event(chat(R"({"content":"a"})", R"(,"usage":{"prompt_tokens":3,"completion_tokens":1})")) +
                     event(chat(R"({"content":"b"})",
                                R"( , "usage" : { "prompt_tokens" : 3 , "completion_tokens" : 2 } )")),
                 {2, 2, 0, false, {3, 2, unknown}}});
  all.push_back({"text that speaks of usage",
                 event(chat(R"({"content":"\"usage\":{\"prompt_tokens\":1}"})")) +
                     event(chat(R"({"content":"usage"})")) + event(chat(R"({"usage":{"prompt_tokens":9}})")),
                 {3, 3, 0, false, {}}});
  all.push_back(
      {"SGLang generate, cumulative meta_info",
       event(R"({"text":"a","meta_info":{"id":"r","finish_reason":null,"prompt_tokens":4,)"
             R"("completion_tokens":1,"cached_tokens":2}})") +
           event(R"({"text":"ab","meta_info":{"id":"r","finish_reason":{"type":"length","length":2},)"
                 R"("prompt_tokens":4,"completion_tokens":2,"cached_tokens":2,"e2e_latency":0.5}})") +
           event("[DONE]"),
       {3, 2, 0, true, {4, 2, 2}}});
  all.push_back(
      {"cached tokens null are unknown",
       event(
           R"({"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":null}})"),
       {1, 0, 0, false, {1, 2, unknown}}});
  all.push_back({"an error amid the stream",
                 event(chat(R"({"content":"a"})")) + event(R"({"error":{"message":"out of memory"}})"),
                 {2, 1, 1, false, {}}});
  all.push_back(
      {"named events",
       "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,"
       "\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n"
       "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\","
       "\"usage\":{\"output_tokens\":15}}\n\nevent: error\ndata: {\"type\":\"error\"}\n\n",
       {5, 1, 1, false, {9, 15, unknown}}});
  all.push_back(
      {"data that is no JSON, and empty data", "data: hello\n\ndata\n\ndata:\n\n\n\n", {3, 0, 0, false, {}}});
  return all;
}

StreamStats watch(std::string_view text, const std::vector<std::size_t>& cuts) {
  SseObserver observer;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= cuts.size(); ++i) {
    const std::size_t to = i < cuts.size() ? cuts[i] : text.size();
    const std::string piece(
        text.substr(from, to - from));  // a copy that dies: nothing may point into it later
    observer.feed({piece.data(), piece.size()});
    from = to;
  }
  return observer.stats();
}

void check_equal(const StreamStats& got, const StreamStats& expected) {
  CHECK(got.events == expected.events);
  CHECK(got.token_events == expected.token_events);
  CHECK(got.error_events == expected.error_events);
  CHECK(got.done == expected.done);
  CHECK(got.usage.prompt == expected.usage.prompt);
  CHECK(got.usage.completion == expected.usage.completion);
  CHECK(got.usage.cached == expected.usage.cached);
}

TEST_CASE("whole streams give the numbers that stand in them") {
  for (const Sample& sample : corpus()) {
    CAPTURE(sample.name);
    check_equal(watch(sample.text, {}), sample.expected);
  }
}

TEST_CASE("the same numbers when cut in two at every byte") {
  for (const Sample& sample : corpus()) {
    CAPTURE(sample.name);
    for (std::size_t cut = 0; cut <= sample.text.size(); ++cut) {
      CAPTURE(cut);
      REQUIRE((watch(sample.text, {cut}) == sample.expected));
    }
  }
}

TEST_CASE("the same numbers byte by byte, and at random cuts") {
  std::mt19937 random(3);
  for (const Sample& sample : corpus()) {
    CAPTURE(sample.name);
    std::vector<std::size_t> every;
    for (std::size_t cut = 1; cut < sample.text.size(); ++cut) every.push_back(cut);
    REQUIRE((watch(sample.text, every) == sample.expected));
    for (int round = 0; round < 200; ++round) {
      std::vector<std::size_t> cuts;
      for (std::size_t at = random() % 40; at < sample.text.size(); at += random() % 90) cuts.push_back(at);
      REQUIRE((watch(sample.text, cuts) == sample.expected));
    }
  }
}

TEST_CASE("payloads beyond what is held give the same however they are cut") {
  for (std::size_t size : {8000u, 8320u, 8321u, 16000u, 40000u, 200000u}) {
    CAPTURE(size);
    const std::string text =
        event(R"({"text":")" + std::string(size, 'x') +
              R"(","meta_info":{"prompt_tokens":4,"completion_tokens":1,"cached_tokens":2}})");
    const StreamStats expected{1, 1, 0, false, {4, 1, 2}};
    REQUIRE((watch(text, {}) == expected));
    for (std::size_t step : {1000u, 4096u, 9000u, 17000u}) {
      std::vector<std::size_t> cuts;
      for (std::size_t at = step; at < text.size(); at += step) cuts.push_back(at);
      REQUIRE((watch(text, cuts) == expected));
    }
  }
}

TEST_CASE("an open event is closed before one of our own, and only then") {
  const auto closing = [](std::string_view text) {
    SseObserver observer;
    observer.feed({text.data(), text.size()});
    return observer.closing();
  };
  CHECK(closing("") == "");
  CHECK(closing("data: {}\n\n") == "");
  CHECK(closing("data: {}\r\n\r\n") == "");
  CHECK(closing(": comment\n") == "");
  CHECK(closing("data: {}\n") == "\n\n");
  CHECK(closing("data: {}") == "\n\n");
  CHECK(closing("data: {}\r") == "\n\n");
  CHECK(closing("d") == "\n\n");
  CHECK(closing(": comm") == "\n\n");
  CHECK(closing("id: 5\n") == "\n\n");
}

TEST_CASE("a plain JSON response tells its usage, however it is cut") {
  const std::string body =
      R"({"id":"c","choices":[{"message":{"content":")" + std::string(20000, 'x') +
      R"("}}],"usage":{"prompt_tokens":11,"completion_tokens":5,"prompt_tokens_details":)"
      R"({"cached_tokens":7}},"kv":null})"
      "\n";
  const auto watched = [&](std::size_t cut, std::size_t step) {  // in two, then the second part by steps
    JsonTailObserver observer;
    for (std::size_t at = 0, size = cut; at < body.size(); at += size, size = step) {
      const std::string piece = body.substr(at, size);
      observer.feed({piece.data(), piece.size()});
    }
    return observer.finish();
  };
  const TokenUsage expected{11, 5, 7};
  for (std::size_t step : {1u, 7u, 1000u, 9000u, 100000u}) CHECK((watched(step, step) == expected));
  // What is held is less than this, so that the cut stands before, in and behind every byte of it.
  for (std::size_t cut = body.size() - 9 * 1024; cut <= body.size(); ++cut) {
    CAPTURE(cut);
    REQUIRE((watched(cut, body.size()) == expected));
  }
}

TEST_CASE("a response shorter than what is held tells its usage, cut in two at every byte") {
  const std::string body =
      R"({"usage":{"prompt_tokens":11,"completion_tokens":5},"text":"a","meta_info":null})";
  for (std::size_t cut = 1; cut <= body.size(); ++cut) {
    CAPTURE(cut);
    JsonTailObserver observer;
    for (const std::string& piece : {body.substr(0, cut), body.substr(cut)})
      if (!piece.empty()) observer.feed({piece.data(), piece.size()});
    REQUIRE((observer.finish() == TokenUsage{11, 5, unknown}));
  }
}

TEST_CASE("usage is read where a response has it, and nowhere else") {
  CHECK((read_usage(R"({"text":"a","meta_info":{"prompt_tokens":4,"completion_tokens":1}})", false) ==
         TokenUsage{4, 1, unknown}));
  CHECK((read_usage(R"({"a":{"usage":{"prompt_tokens":4}}})", false) == TokenUsage{}));
  CHECK((read_usage(R"({"usage":{"prompt_tokens":-4,"completion_tokens":1.5}})", false) == TokenUsage{}));
  CHECK((read_usage(R"({"usage":{"prompt_tokens":4)", false) == TokenUsage{}));
}

}  // namespace
}  // namespace tidegate::http
