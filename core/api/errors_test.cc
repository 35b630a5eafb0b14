#include "api/errors.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace tidegate::api {
namespace {

TEST_CASE("the envelope is OpenAI's, byte for byte") {
  CHECK(
      error_body(errors::model_not_found, "No worker serves 'x'.") ==
      R"({"error":{"type":"Not Found","code":"model_not_found","message":"No worker serves 'x'.","param":null}})");
  CHECK(error_body(errors::duplicate_member, "Twice.", "model") ==
        R"({"error":{"type":"Bad Request","code":"duplicate_member","message":"Twice.","param":"model"}})");
}

TEST_CASE("whatever a message holds, the envelope is JSON of one line") {
  std::string message;
  for (int c = 0; c < 256; ++c) message += static_cast<char>(c);
  message += "\xe2\x82\xac \xf0\x9f\x8c\x8a \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 \xe2\x82";
  const std::string body = error_body(500, "c", message);
  CHECK(body.find('\n') == std::string::npos);
  const nlohmann::json parsed = nlohmann::json::parse(body);
  const std::string back = parsed["error"]["message"];
  CHECK(back.substr(0, 128) == message.substr(0, 128));
  CHECK(back.find("\xe2\x82\xac \xf0\x9f\x8c\x8a") != std::string::npos);
}

TEST_CASE("an error in a stream is one event") {
  CHECK(
      sse_error_event(errors::upstream_reset, "The engine\nis gone.") ==
      "data: {\"error\":{\"type\":\"Bad Gateway\",\"code\":\"upstream_reset\",\"message\":\"The engine\\nis "
      "gone.\",\"param\":null}}\n\n");
}

}  // namespace
}  // namespace tidegate::api
