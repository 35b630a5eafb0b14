#include "engine/request.h"

#include <algorithm>
#include <limits>

#include <simdjson.h>
#include <xxhash.h>

namespace tidegate::engine {

namespace dom = simdjson::dom;

struct RequestReader::State {
  dom::parser parser;
  std::string prompt;  // what is counted and hashed; its memory is kept
};

namespace {

RequestError bad_request(std::string message) { return {400, "BadRequestError", std::move(message)}; }

// Booleans and numbers of the wrong type count as absent: this is a simulator, not a validator.
bool flag(dom::element value) { return value.is_bool() && value.get_bool().value_unsafe(); }

bool flag(const dom::object& object, std::string_view key) {
  dom::element value;
  return object[key].get(value) == simdjson::SUCCESS && flag(value);
}

std::optional<std::uint32_t> count(const dom::object& object, std::string_view key) {
  std::uint64_t value = 0;
  if (object[key].get(value) != simdjson::SUCCESS) return std::nullopt;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(value, std::numeric_limits<std::uint32_t>::max()));
}

std::string text(const dom::object& object, std::string_view key) {
  std::string_view value;
  return object[key].get(value) == simdjson::SUCCESS ? std::string(value) : std::string();
}

// Four bytes an id, so that estimates of tokens by bytes hold for ids too.
bool append_ids(std::string& prompt, const dom::array& ids) {
  for (const dom::element id : ids) {
    std::uint64_t value = 0;
    if (id.get(value) != simdjson::SUCCESS) return false;
    for (int shift = 0; shift < 32; shift += 8) prompt += static_cast<char>(value >> shift & 0xff);
  }
  return true;
}

// A string, or an array of ids.
bool append_prompt(std::string& prompt, dom::element value) {
  std::string_view string;
  if (value.get(string) == simdjson::SUCCESS) {
    prompt += string;
    return true;
  }
  dom::array array;
  if (value.get(array) != simdjson::SUCCESS) return false;
  if (array.size() == 1 && !array.at(0).is_uint64()) return append_prompt(prompt, array.at(0).value_unsafe());
  return append_ids(prompt, array);
}

void append_content(std::string& prompt, dom::element content) {
  std::string_view string;
  dom::array parts;
  if (content.get(string) == simdjson::SUCCESS) {
    prompt += string;
  } else if (content.get(parts) == simdjson::SUCCESS) {
    for (const dom::element part : parts) {
      if (part["text"].get(string) == simdjson::SUCCESS) prompt += string;
    }
  }
}

bool append_messages(std::string& prompt, const dom::array& messages) {
  for (const dom::element message : messages) {
    std::string_view role;
    if (message["role"].get(role) != simdjson::SUCCESS) return false;
    prompt.append("<|").append(role).append("|>\n");
    dom::element content;
    if (message["content"].get(content) == simdjson::SUCCESS) append_content(prompt, content);
    prompt += '\n';
  }
  return true;
}

// Null when the prompt is in order.
const char* read_prompt(Api api, const dom::object& object, std::string& prompt) {
  dom::element value;
  dom::array array;
  switch (api) {
    case Api::chat:
      if (object["messages"].get(array) != simdjson::SUCCESS) return "'messages' must be an array";
      if (array.size() == 0) return "'messages' must not be empty";
      return append_messages(prompt, array) ? nullptr : "each of 'messages' needs a 'role'";
    case Api::completions:
      if (object["prompt"].get(value) != simdjson::SUCCESS) return "'prompt' is missing";
      return append_prompt(prompt, value) ? nullptr : "'prompt' must be one string or one array of token ids";
    case Api::generate: break;
  }
  if (object["text"].get(value) != simdjson::SUCCESS && object["input_ids"].get(value) != simdjson::SUCCESS) {
    return "Either text, input_ids or input_embeds should be provided.";
  }
  return append_prompt(prompt, value) ? nullptr
                                      : "'text' must be one string, 'input_ids' one array of numbers";
}

void read_limits(Api api, const dom::object& object, Generation& generation) {
  if (api == Api::generate) {
    dom::object sampling;
    generation.max_tokens = 128;  // SGLang's default
    if (object["sampling_params"].get(sampling) != simdjson::SUCCESS) return;
    generation.max_tokens = count(sampling, "max_new_tokens").value_or(128);
    generation.ignore_eos = flag(sampling, "ignore_eos");
    return;
  }
  generation.ignore_eos = flag(object, "ignore_eos");
  if (api == Api::chat) generation.max_tokens = count(object, "max_completion_tokens");
  if (!generation.max_tokens) generation.max_tokens = count(object, "max_tokens");
  if (!generation.max_tokens && api == Api::completions) generation.max_tokens = 16;  // OpenAI's default
  dom::object stream_options;
  if (object["stream_options"].get(stream_options) == simdjson::SUCCESS) {
    generation.include_usage = flag(stream_options, "include_usage");
  }
}

}  // namespace

RequestReader::RequestReader(const EngineOptions& options)
    : options_(options), state_(std::make_unique<State>()) {}
RequestReader::~RequestReader() = default;

std::variant<Generation, RequestError> RequestReader::read(Api api, std::string_view body) {
  dom::object object;
  const auto fault = state_->parser.parse(body.data(), body.size(), false).get(object);
  if (fault == simdjson::INCORRECT_TYPE) return bad_request("the body must be a JSON object");
  if (fault != simdjson::SUCCESS)
    return bad_request(std::string("invalid JSON: ") + simdjson::error_message(fault));

  Generation generation;
  generation.api = api;
  generation.model = text(object, "model");
  generation.rid = text(object, "rid");
  generation.stream = flag(object, "stream");
  read_limits(api, object, generation);
  std::string& prompt = state_->prompt;
  prompt.clear();
  if (const char* complaint = read_prompt(api, object, prompt)) return bad_request(complaint);

  generation.prompt_tokens = std::max<std::uint32_t>(
      1, static_cast<std::uint32_t>((prompt.size() + bytes_per_token - 1) / bytes_per_token));
  if (generation.prompt_tokens >= options_.max_model_len) {
    return bad_request("This model's maximum context length is " + std::to_string(options_.max_model_len) +
                       " tokens. However, you requested " + std::to_string(generation.prompt_tokens) +
                       " tokens in the messages. Please reduce the length of the messages.");
  }
  generation.prompt_hash = XXH3_64bits_withSeed(prompt.data(), prompt.size(), options_.model.seed);
  generation.blocks = block_hashes(prompt, options_.model.block_tokens);
  return generation;
}

}  // namespace tidegate::engine
