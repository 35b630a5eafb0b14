#include "engine/answer.h"

#include <cstdio>

namespace tidegate::engine {

namespace {

std::string hex(std::uint64_t high, std::uint64_t low) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low));
  return text;
}

std::string make_id(const EngineOptions& options, const Generation& generation, std::uint64_t number) {
  if (!generation.rid.empty()) return generation.rid;
  const std::uint64_t salt = mix(options.model.seed ^ number);
  const std::string unique = hex(salt, mix(salt));
  if (generation.api == Api::generate || options.flavor == Flavor::sglang) return unique;
  return (generation.api == Api::chat ? "chatcmpl-" : "cmpl-") + unique;
}

}  // namespace

Answer::Answer(const EngineOptions& options, Generation generation, std::uint64_t number,
               std::int64_t created)
    : options_(options),
      generation_(std::move(generation)),
      id_(make_id(options, generation_, number)),
      created_(created),
      length_(output_length(generation_.prompt_hash, options.mean_output_tokens, generation_.max_tokens,
                            generation_.ignore_eos)) {
  if (generation_.model.empty()) generation_.model = options.models.front();
}

std::string_view Answer::finish_reason() const {
  return aborted_ ? "abort" : length_.cut ? "length" : "stop";
}

void Answer::say() { append_token(text_, generation_.prompt_hash, tokens_++); }

void Answer::skip_to(std::uint32_t tokens) {
  while (tokens_ < tokens) say();
}

void Answer::stream_token(std::string& out) {
  const std::size_t before = text_.size();
  say();
  const bool last = tokens_ >= length_.tokens;
  if (generation_.api == Api::generate) {
    generate_event(out, last);
  } else {
    openai_event(out, std::string_view(text_).substr(before), last);
    text_.clear();  // only /generate repeats what was said
  }
}

// vLLM's last token carries the finish reason; SGLang sends an event of its own behind it.
void Answer::openai_event(std::string& out, std::string_view token, bool last) {
  const bool chat = generation_.api == Api::chat;
  if (chat && tokens_ == 1) openai_chunk(out, R"({"role":"assistant","content":""})", {});
  const std::string text = json_string(token);
  const bool joined = last && options_.flavor == Flavor::vllm;
  openai_chunk(out, chat ? R"({"content":)" + text + "}" : text, joined ? finish_reason() : "");
  finish_sent_ = joined;
}

void Answer::openai_chunk(std::string& out, std::string_view delta, std::string_view finish) const {
  const bool chat = generation_.api == Api::chat;
  out += R"(data: {"id":)";
  append_json(out, id_);
  out +=
      chat ? R"(,"object":"chat.completion.chunk","created":)" : R"(,"object":"text_completion","created":)";
  out += std::to_string(created_);
  out += R"(,"model":)";
  append_json(out, generation_.model);
  out += chat ? R"(,"choices":[{"index":0,"delta":)" : R"(,"choices":[{"index":0,"text":)";
  out += delta;
  out += R"(,"logprobs":null,"finish_reason":)";
  if (finish.empty()) {
    out += "null";
  } else {
    append_json(out, finish);
  }
  out += "}]}\n\n";
}

void Answer::stream_end(std::string& out) {
  if (generation_.api == Api::generate) {
    if (aborted_) generate_event(out, true);
  } else {
    if (!finish_sent_) openai_chunk(out, generation_.api == Api::chat ? "{}" : "\"\"", finish_reason());
    if (generation_.include_usage) {
      const std::string object = generation_.api == Api::chat ? "chat.completion.chunk" : "text_completion";
      out += R"(data: {"id":)" + json_string(id_) + R"(,"object":")" + object + R"(","created":)" +
             std::to_string(created_) + R"(,"model":)" + json_string(generation_.model) +
             R"(,"choices":[],"usage":)";
      append_usage(out);
      out += "}\n\n";
    }
  }
  out += "data: [DONE]\n\n";
}

void Answer::generate_event(std::string& out, bool last) const {
  out += R"(data: {"text":)";
  append_json(out, text_);
  append_meta_info(out, last);
  out += "}\n\n";
}

void Answer::append_meta_info(std::string& out, bool last) const {
  out += R"(,"meta_info":{"id":)" + json_string(id_) + R"(,"finish_reason":)";
  if (!last) {
    out += "null";
  } else if (aborted_) {
    out += R"({"type":"abort","message":"Aborted"})";
  } else if (length_.cut) {
    out += R"({"type":"length","length":)" + std::to_string(tokens_) + "}";
  } else {
    out += R"({"type":"stop","matched":2})";
  }
  out += R"(,"prompt_tokens":)" + std::to_string(generation_.prompt_tokens) +
         R"(,"weight_version":"default")" + R"(,"completion_tokens":)" + std::to_string(tokens_) +
         R"(,"cached_tokens":)" + std::to_string(cached_tokens_) + "}";
}

void Answer::append_usage(std::string& out) const {
  out += R"({"prompt_tokens":)" + std::to_string(generation_.prompt_tokens) + R"(,"total_tokens":)" +
         std::to_string(generation_.prompt_tokens + tokens_) + R"(,"completion_tokens":)" +
         std::to_string(tokens_) + R"(,"prompt_tokens_details":{"cached_tokens":)" +
         std::to_string(cached_tokens_) + "}}";
}

std::string Answer::whole() const {
  std::string out;
  if (generation_.api == Api::generate) {
    out = R"({"text":)" + json_string(text_);
    append_meta_info(out, true);
    return out + "}";
  }
  const bool chat = generation_.api == Api::chat;
  out = R"({"id":)" + json_string(id_) + R"(,"object":")" + (chat ? "chat.completion" : "text_completion") +
        R"(","created":)" + std::to_string(created_) + R"(,"model":)" + json_string(generation_.model) +
        R"(,"choices":[{"index":0,)";
  if (chat) {
    out += R"("message":{"role":"assistant","content":)" + json_string(text_) + R"(,"tool_calls":null})";
  } else {
    out += R"("text":)" + json_string(text_);
  }
  out += R"(,"logprobs":null,"finish_reason":)" + json_string(finish_reason()) + R"(}],"usage":)";
  append_usage(out);
  return out + "}";
}

}  // namespace tidegate::engine
