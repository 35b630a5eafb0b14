// What: the data-plane endpoints: which paths are served, by which method, and where in the body the prompt
// stands. Threads: pure functions over a constant table. Ownership: static entries; ids are views into the
// path. Errors: 404 or 405, as a result.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace tidegate::api {

enum class EndpointKind : std::uint8_t {
  chat,         // /v1/chat/completions
  completions,  // /v1/completions
  responses,    // /v1/responses
  messages,     // /v1/messages
  embeddings,
  rerank,
  score,
  classify,
  transcriptions,
  tokenize,
  detokenize,
  generate,    // SGLang's /generate
  models,      // /v1/models: merged from the fleet
  model_info,  // one worker's answer
  server_info,
};

// Which member holds what is to be computed on.
enum class PromptMember : std::uint8_t {
  none,
  messages,  // list of {role, content}
  prompt,    // string, list of strings, list of token ids, list of those lists
  input,     // as prompt; in /v1/responses also a list of messages
  generate,  // text or input_ids
  any,       // whichever of messages, prompt, input, text, query is there
};

struct Endpoint {
  std::string_view method;
  std::string_view
      path;  // a last "/*" stands for one or more further segments (an id, and what is asked of it)
  EndpointKind kind;
  PromptMember prompt = PromptMember::none;
  bool json_body = false;  // the body is scanned; else (multipart) it passes unread
};

struct EndpointMatch {
  const Endpoint* endpoint = nullptr;
  int status = 404;             // 200, 404 or 405
  std::string_view allow = {};  // on 405: the value of Allow
  std::string_view id = {};     // what "*" matched
};

std::span<const Endpoint> all_endpoints() noexcept;
EndpointMatch find_endpoint(std::string_view method, std::string_view path) noexcept;

}  // namespace tidegate::api
