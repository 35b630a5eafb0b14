// What: one answer of the engine, token by token, as the bytes that SGLang or vLLM would send.
// Threads: none; belongs to one exchange.
// Ownership: owns the request it answers.
// Errors: none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/options.h"
#include "engine/request.h"
#include "engine/text.h"

namespace tidegate::engine {

class Answer {
 public:
  Answer(const EngineOptions& options, Generation generation, std::uint64_t number, std::int64_t created);

  const Generation& generation() const { return generation_; }
  const std::string& id() const { return id_; }
  std::uint32_t output_tokens() const { return length_.tokens; }
  std::uint32_t tokens() const { return tokens_; }  // said so far
  void set_cached_tokens(std::uint32_t tokens) { cached_tokens_ = tokens; }
  void cut_off() { aborted_ = true; }  // by the client's wish; what has been said stands

  // The next token as server-sent events, appended.
  void stream_token(std::string& out);
  // What follows the last token: usage if wanted, and [DONE].
  void stream_end(std::string& out);
  // The whole answer as one JSON object, after skip_to() the last token.
  void skip_to(std::uint32_t tokens);
  std::string whole() const;
  std::string_view finish_reason() const;  // "stop", "length" or "abort"

 private:
  void say();  // the next token, into text_
  void openai_event(std::string& out, std::string_view token, bool last);
  void openai_chunk(std::string& out, std::string_view delta, std::string_view finish) const;
  void generate_event(std::string& out, bool last) const;
  void append_usage(std::string& out) const;
  void append_meta_info(std::string& out, bool last) const;

  const EngineOptions& options_;
  Generation generation_;
  std::string id_;
  std::int64_t created_;
  OutputLength length_;
  std::uint32_t tokens_ = 0;
  std::uint32_t cached_tokens_ = 0;
  bool aborted_ = false;
  bool finish_sent_ = false;
  std::string text_;  // all of it so far
};

}  // namespace tidegate::engine
