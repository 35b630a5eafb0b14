// What: reads a generation request's body: OpenAI chat, OpenAI completions, SGLang generate.
// Threads: a reader belongs to one thread (it keeps the JSON parser's memory).
// Ownership: results own their strings; the body is only looked at.
// Errors: as a RequestError, worded like the engines word theirs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/options.h"
#include "engine/prefix_cache.h"

namespace tidegate::engine {

enum class Api : std::uint8_t { chat, completions, generate };

struct Generation {
  Api api = Api::chat;
  std::string model;  // as asked for; may be empty
  std::string rid;    // SGLang's request id, if the client gave one
  bool stream = false;
  bool include_usage = false;
  bool ignore_eos = false;
  std::optional<std::uint32_t> max_tokens;
  std::uint32_t prompt_tokens = 0;
  std::uint64_t prompt_hash = 0;  // with the engine's seed
  std::vector<BlockHash> blocks;
};

struct RequestError {
  int status;
  std::string_view type;
  std::string message;
};

class RequestReader {
 public:
  explicit RequestReader(const EngineOptions& options);
  ~RequestReader();

  // `body` has the padding that http::Body promises.
  std::variant<Generation, RequestError> read(Api api, std::string_view body);

 private:
  struct State;
  const EngineOptions& options_;
  std::unique_ptr<State> state_;
};

}  // namespace tidegate::engine
