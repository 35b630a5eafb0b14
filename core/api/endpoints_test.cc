#include "api/endpoints.h"

#include <doctest/doctest.h>

#include <string>

namespace tidegate::api {
namespace {

TEST_CASE("an endpoint is found by method and path") {
  const EndpointMatch chat = find_endpoint("POST", "/v1/chat/completions");
  REQUIRE(chat.endpoint != nullptr);
  CHECK(chat.status == 200);
  CHECK(chat.endpoint->kind == EndpointKind::chat);
  CHECK(chat.endpoint->prompt == PromptMember::messages);
  CHECK(chat.endpoint->json_body);
  for (const char* path : {"/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/rerank",
                           "/rerank", "/v1/score", "/v1/classify", "/v1/audio/transcriptions", "/v1/tokenize",
                           "/v1/detokenize", "/tokenize", "/detokenize", "/generate"}) {
    CAPTURE(path);
    CHECK(find_endpoint("POST", path).status == 200);
  }
  for (const char* path :
       {"/v1/models", "/get_model_info", "/model_info", "/get_server_info", "/server_info"}) {
    CAPTURE(path);
    CHECK(find_endpoint("GET", path).status == 200);
    CHECK(find_endpoint("HEAD", path).status == 200);
  }
}

TEST_CASE("sub-paths bear an id") {
  CHECK(find_endpoint("GET", "/v1/responses/resp_1").id == "resp_1");
  CHECK(find_endpoint("POST", "/v1/responses/resp_1/cancel").id == "resp_1/cancel");
  CHECK(find_endpoint("GET", "/v1/models/org/name:tag").id == "org/name:tag");
  for (const char* path : {"/v1/responses/", "/v1/responses/..", "/v1/responses/a/../b", "/v1/responses/a//b",
                           "/v1/responses/%2e%2e", "/v1/responses/a b", "/v1/responses/./a"}) {
    CAPTURE(path);
    CHECK(find_endpoint("GET", path).status == 404);
  }
}

TEST_CASE("another method gets 405 with what is allowed") {
  CHECK(find_endpoint("GET", "/v1/chat/completions").status == 405);
  CHECK(find_endpoint("GET", "/v1/chat/completions").allow == "POST");
  CHECK(find_endpoint("POST", "/v1/models").allow == "GET, HEAD");
  CHECK(find_endpoint("PUT", "/v1/responses/a").allow == "GET, POST, DELETE");
  CHECK(find_endpoint("post", "/generate").status == 405);
}

TEST_CASE("an unknown path gets 404") {
  for (const char* path :
       {"/", "", "*", "/v1", "/v1/chat/completions/", "/v1//completions", "/V1/completions"}) {
    CAPTURE(path);
    CHECK(find_endpoint("POST", path).status == 404);
    CHECK(find_endpoint("POST", path).endpoint == nullptr);
  }
}

}  // namespace
}  // namespace tidegate::api
