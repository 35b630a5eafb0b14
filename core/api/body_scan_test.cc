#include "api/body_scan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace tidegate::api {
namespace {

// Scans a body with the padding that a scanner needs; the padding holds bytes that would change the outcome
// if read.
struct Scanned {
  std::string text;
  std::size_t size;
  BodyScanner scanner;
  BodyScan scan;
  ScanError error;
  bool ok;

  explicit Scanned(const std::string& body, PromptMember prompt = PromptMember::messages)
      : text(body + std::string(scan_padding, '}')), size(body.size()) {
    ok = scanner.scan(std::string_view(text).substr(0, size), prompt, scan, error);
  }
  std::string spans() const {
    std::string out;
    for (const PromptSpan& span : scan.spans) {
      out += "[" + std::string(span.role) + (span.escaped ? "|\\|" : "|") +
             "stio"[static_cast<int>(span.kind)] + "|" + std::string(span.bytes()) + "]";
    }
    return out;
  }
  std::string slice(std::size_t from, std::size_t to) const { return text.substr(from, to - from); }
};

std::string code(const std::string& body) {
  const Scanned s(body);
  return s.ok ? "ok" : std::string(s.error.code);
}

TEST_CASE("what was read outlives the scanner's next body, escapes or not") {
  const std::string first =
      R"({"mod\u0065l":"ll\u0061ma","user":"plain","rid":"tab\there","messages":[{"role":"us\u0065r","content":"hi"}]})";
  const std::string second =
      R"({"\u006dodel":"\u006f\u0074her","messages":[{"role":"syst\u0065m","content":"no"}]})";
  const std::string padding(scan_padding, ' ');
  const std::string one = first + padding, two = second + padding;
  BodyScanner scanner;
  BodyScan scan, other;
  ScanError error;
  REQUIRE(scanner.scan(std::string_view(one).substr(0, first.size()), PromptMember::messages, scan, error));
  REQUIRE(scanner.scan(std::string_view(two).substr(0, second.size()), PromptMember::messages, other, error));
  CHECK(scan.model == "llama");
  CHECK(scan.user == "plain");
  CHECK(scan.rid == "tab\there");
  CHECK(scan.members[0].key == "model");
  REQUIRE(scan.spans.size() == 1);
  CHECK(scan.spans[0].role == "user");
}

TEST_CASE("strings with control characters or bad UTF-8 are refused, read or not") {
  for (const char* body :
       {"{\"model\":\"a\x01\"}", "{\"model\":\"\xff\"}", "{\"a\x02\":1}", "{\"x\":\"\xc3\"}"})
    CHECK(code(body) == "invalid_json");
}

TEST_CASE("a chat body gives what routing reads") {
  const Scanned s(
      R"({"model":"llama","stream":true,"stream_options":{"include_usage":true},"max_tokens":64,"n":2,
    "user":"u","rid":"r","priority":-3,"temperature":0.5,"messages":[{"role":"user","content":"hi"}]})");
  REQUIRE(s.ok);
  CHECK(s.scan.has_model);
  CHECK(s.scan.model == "llama");
  CHECK(s.scan.stream);
  CHECK(s.scan.include_usage);
  CHECK(s.scan.max_tokens == 64);
  CHECK(s.scan.n == 2);
  CHECK(s.scan.user == "u");
  CHECK(s.scan.rid == "r");
  CHECK(s.scan.priority == -3);
  CHECK(s.spans() == "[user|s|hi]");
  CHECK(s.scan.prompt_bytes == 2);
  CHECK(s.scan.estimated_tokens() == 1);
}

TEST_CASE("what is not there keeps its default") {
  const Scanned s("{}");
  REQUIRE(s.ok);
  CHECK_FALSE(s.scan.has_model);
  CHECK_FALSE(s.scan.stream);
  CHECK_FALSE(s.scan.include_usage);
  CHECK_FALSE(s.scan.max_tokens);
  CHECK(s.scan.n == 1);
  CHECK(s.scan.members.empty());
  CHECK(s.scan.spans.empty());
  CHECK(s.scan.open == 0);
  CHECK(s.scan.close == 1);
}

TEST_CASE("types that routing does not expect are the engine's to judge, but for model") {
  CHECK(
      code(
          R"({"stream":"yes","max_tokens":-1,"n":"x","rid":[1],"user":5,"messages":7,"stream_options":1})") ==
      "ok");
  CHECK(code(R"({"max_tokens":1.5,"sampling_params":[{}],"priority":1e9})") == "ok");
  CHECK(code(R"({"model":null})") == "ok");
  CHECK(code(R"({"model":5})") == "invalid_member");
  CHECK(code(R"({"model":tru})") == "invalid_member");
  CHECK(code(R"({"model":["a"]})") == "invalid_member");
}

TEST_CASE("every limit on tokens is read") {
  CHECK(Scanned(R"({"max_completion_tokens":7})").scan.max_tokens == 7);
  CHECK(Scanned(R"({"max_output_tokens":7})").scan.max_tokens == 7);
  CHECK(Scanned(R"({"sampling_params":{"a":[1],"max_new_tokens":7}})").scan.max_tokens == 7);
  CHECK_FALSE(Scanned(R"({"sampling_params":{"x":{"max_new_tokens":7}}})").scan.max_tokens);
}

TEST_CASE("members are told by their place, byte for byte, with keys unescaped") {
  const Scanned s(
      " {\t\"a\" : [1, {\"b\":\"]\"}] ,\"mod\\u0065l\": \"x\\ny\"\n, \"c\":{ } , \"d\" :-1.5e3 ,\"e\":null} "
      "\n");
  REQUIRE(s.ok);
  REQUIRE(s.scan.members.size() == 5);
  std::string shown;
  for (const Member& m : s.scan.members) {
    shown += std::string(m.key) + "=" + s.slice(m.key_begin, m.value_begin) + "~" +
             s.slice(m.value_begin, m.value_end) + "\n";
  }
  CHECK(shown ==
        "a=\"a\" : ~[1, {\"b\":\"]\"}]\n"
        "model=\"mod\\u0065l\": ~\"x\\ny\"\n"
        "c=\"c\":~{ }\n"
        "d=\"d\" :~-1.5e3\n"
        "e=\"e\":~null\n");
  CHECK(s.scan.model == "x\ny");
  CHECK(s.text[s.scan.open] == '{');
  CHECK(s.scan.open == 1);
  CHECK(s.scan.close == s.size - 3);
}

TEST_CASE("a routing member that stands twice is refused, another is not") {
  for (const char* name :
       {"model", "stream", "messages", "prompt", "text", "input_ids", "max_tokens", "max_completion_tokens",
        "rid", "user", "stream_options", "n", "sampling_params"}) {
    CAPTURE(name);
    const std::string member = "\"" + std::string(name) + "\":null";
    const Scanned s("{" + member + ",\"x\":1," + member + "}");
    CHECK_FALSE(s.ok);
    CHECK(s.error.code == "duplicate_member");
    CHECK(s.error.member == name);
  }
  CHECK(code(R"({"model":"a","mod\u0065l":"b"})") == "duplicate_member");
  CHECK(code(R"({"x":1,"x":2})") == "ok");
  CHECK(code(R"({"x":{"model":1},"model":"a"})") == "ok");
}

TEST_CASE("chat prompts: one span for a string, one for each part") {
  CHECK(Scanned(R"({"messages":[{"role":"system","content":"be \"good\""},{"content":"hi","role":"user"}]})")
            .spans() == R"([system|\|s|be \"good\"][user|s|hi])");
  CHECK(Scanned(R"({"messages":[{"role":"user","content":[{"type":"text","text":"see"},
        {"type":"image_url","image_url":{"url":"http://x/y.png"}},{"type":"text","text":""}]}]})")
            .spans() == R"([user|s|see][user|i|{"url":"http://x/y.png"}])");
  CHECK(Scanned(R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},
        {"role":"tool","tool_call_id":"1","content":"42"}]})")
            .spans() == R"([assistant|o|[{"id":"1"}]][tool|s|42])");
  CHECK(Scanned(R"({"messages":[]})").spans() == "");
}

TEST_CASE("a system prompt beside the messages comes first") {
  CHECK(
      Scanned(R"({"messages":[{"role":"user","content":"hi"}],"system":[{"type":"text","text":"be good"}]})")
          .spans() == "[system|s|be good][user|s|hi]");
}

TEST_CASE("other prompts: strings, lists, token ids") {
  const auto prompt = [](const std::string& value) {
    return Scanned("{\"prompt\":" + value + ",\"messages\":[{\"content\":\"no\"}]}", PromptMember::prompt)
        .spans();
  };
  CHECK(prompt(R"("one")") == "[|s|one]");
  CHECK(prompt(R"(["one", "two"])") == "[|s|one][|s|two]");
  CHECK(prompt("[1, 2,3]") == "[|t|[1, 2,3]]");
  CHECK(prompt("[[1,2] ,[3]\n]") == "[|t|[1,2]][|t|[3]]");
  CHECK(prompt("[]") == "");
  CHECK(prompt("null") == "");
  CHECK(Scanned(R"({"text":"a","input_ids":[1]})", PromptMember::generate).spans() == "[|s|a][|t|[1]]");
  CHECK(Scanned(
            R"({"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]}],"instructions":"b"})",
            PromptMember::input)
            .spans() == "[system|s|b][user|s|a]");
  CHECK(Scanned(R"({"prompt":"a"})", PromptMember::none).spans() == "");
}

TEST_CASE("a body that is no object is refused") {
  for (const char* body : {"[]", "1", "\"a\"", "null", "[{}]"}) {
    CAPTURE(body);
    CHECK(code(body) == "body_not_object");
  }
}

TEST_CASE("broken structure is found by the fast pass") {
  for (const char* body : {"",
                           " ",
                           "{",
                           "}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1",
                           "{\"a\":1,}",
                           "{\"a\":1 \"b\":2}",
                           "{\"a\":[1}",
                           "{\"a\":{}",
                           "{a:1}",
                           "{'a':1}",
                           "{\"a\":1}}",
                           "{\"a\":1} x",
                           "{}{}",
                           "{} []",
                           "{\"a\":\"x}",
                           "{\"a\":\"\n\"}",
                           "{\"model\":\"\\x\"}",
                           "{\"stream\":truee}",
                           "{\"a\":\"\xff\"}",
                           "{,\"a\":1}",
                           "{\"a\":1,,\"b\":2}",
                           "{\"a\"1}"}) {
    CAPTURE(body);
    CHECK(code(body) == "invalid_json");
  }
}

TEST_CASE("the place of an error is told by line, column and byte") {
  const Scanned s("{\"a\": 1,\n  \"b\": ?\n}");
  REQUIRE_FALSE(s.ok);
  CHECK(s.error.code == "invalid_json");
  CHECK(s.error.line == 2);
  CHECK(s.error.column == 8);
  CHECK(s.error.byte == 16);
  CHECK(s.error.message.find("line 2, column 8 (byte 16)") != std::string::npos);
  const Scanned open("{\"a\": 1");
  CHECK(open.error.byte == 7);
}

TEST_CASE("what the gateway does not read passes unread") {
  CHECK(code(R"({"x":01,"y":[1 2],"z":tru})") == "ok");
}

TEST_CASE("a scanner is used again, grows, and gives its memory back") {
  BodyScanner scanner;
  BodyScan scan;
  ScanError error;
  const auto run = [&](std::string body) {
    const std::size_t size = body.size();
    body.append(scan_padding, '\0');
    return scanner.scan(std::string_view(body).substr(0, size), PromptMember::prompt, scan, error);
  };
  CHECK(run(R"({"prompt":"a","model":"m"})"));
  CHECK_FALSE(run("{"));
  CHECK(run("{\"prompt\":\"" + std::string(2'000'000, 'x') + "\"}"));
  CHECK(scan.prompt_bytes == 2'000'000);
  CHECK_FALSE(scan.has_model);
  CHECK(scanner.capacity() >= 2'000'000);
  scanner.shrink();
  CHECK(scanner.capacity() < 2'000'000);
  CHECK(run(R"({"prompt":"a"})"));
}

TEST_CASE("deep nesting is walked without recursion, but for message contents, which are bounded") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(Scanned("{\"x\":" + nested(100'000) + "}").scan.members.size() <=
        1);  // refused or taken, but no crash
  std::string content = "\"a\"";
  for (int i = 0; i < 12; ++i) content = "[{\"content\":" + content + "}]";
  CHECK(code("{\"messages\":" + content + "}") == "invalid_member");
}

TEST_CASE("every prefix and every one-byte damage of a body ends in a verdict, within bounds") {
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a\nb"},{"image_url":{"url":"u"}}]}],)"
      R"("stream_options":{"include_usage":true},"max_tokens":5,"x":[{"y":[]}]})";
  for (std::size_t n = 0; n < body.size(); ++n) CHECK(code(body.substr(0, n)) != "ok");
  for (std::size_t n = 0; n < body.size(); ++n) {
    for (char c : {'"', '{', '}', '[', ']', ',', ':', '\\', '\0', 'x'}) {
      std::string damaged = body;
      damaged[n] = c;
      const Scanned s(damaged);
      for (const PromptSpan& span : s.scan.spans) {
        REQUIRE(span.data >= s.text.data());
        REQUIRE(span.data + span.size <= s.text.data() + s.size);
      }
      if (!s.ok) CHECK_FALSE(s.error.message.empty());
    }
  }
}

}  // namespace
}  // namespace tidegate::api
