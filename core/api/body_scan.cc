// Longer than 400 lines: one pass over one document, whose iterators must not leave this file.
#include "api/body_scan.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace tidegate::api {

namespace {

namespace ondemand = simdjson::ondemand;

static_assert(scan_padding >= simdjson::SIMDJSON_PADDING);

// Members that routing reads: each may stand once.
enum Routing : std::uint8_t {
  r_model,
  r_stream,
  r_stream_options,
  r_max_tokens,
  r_max_completion_tokens,
  r_max_output_tokens,
  r_max_new_tokens,
  r_sampling_params,
  r_n,
  r_rid,
  r_user,
  r_priority,
  r_messages,
  r_prompt,
  r_input,
  r_text,
  r_input_ids,
  r_query,
  r_system,
  r_instructions,
  routing_members
};

constexpr std::array<std::string_view, routing_members> routing_names{"model",
                                                                      "stream",
                                                                      "stream_options",
                                                                      "max_tokens",
                                                                      "max_completion_tokens",
                                                                      "max_output_tokens",
                                                                      "max_new_tokens",
                                                                      "sampling_params",
                                                                      "n",
                                                                      "rid",
                                                                      "user",
                                                                      "priority",
                                                                      "messages",
                                                                      "prompt",
                                                                      "input",
                                                                      "text",
                                                                      "input_ids",
                                                                      "query",
                                                                      "system",
                                                                      "instructions"};

constexpr std::uint32_t bit(Routing r) { return std::uint32_t{1} << r; }

constexpr std::uint32_t prompt_mask(PromptMember member) {
  switch (member) {
    case PromptMember::none: return 0;
    case PromptMember::messages: return bit(r_messages) | bit(r_system);
    case PromptMember::prompt: return bit(r_prompt);
    case PromptMember::input: return bit(r_input) | bit(r_instructions);
    case PromptMember::generate: return bit(r_text) | bit(r_input_ids);
    case PromptMember::any:
      return bit(r_messages) | bit(r_prompt) | bit(r_input) | bit(r_text) | bit(r_query);
  }
  return 0;
}

Routing routing_member(std::string_view key) {
  for (std::size_t i = 0; i < routing_names.size(); ++i) {
    if (routing_names[i] == key) return static_cast<Routing>(i);
  }
  return routing_members;
}

std::string_view trim_end(std::string_view s) {
  while (!s.empty() && (s.back() == ' ' || s.back() == '\n' || s.back() == '\r' || s.back() == '\t')) {
    s.remove_suffix(1);
  }
  return s;
}

// One scan. Errors of simdjson travel as error codes; SUCCESS is 0.
class Pass {
 public:
  Pass(std::string_view body, PromptMember prompt, BodyScan& out, ScanError& error)
      : body_(body), prompts_(prompt_mask(prompt)), out_(out), error_(error) {}

  // False with a code and a message in error_, or with json_error set for the slow pass to explain.
  bool run(ondemand::document& document) {
    ondemand::object root;
    if (fails(document.get_object().get(root))) return false;
    for (auto item : root) {
      ondemand::field field;
      if (fails(std::move(item).get(field)) || !member(field)) return false;
    }
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
      return fails(simdjson::TRAILING_CONTENT), false;
    out_.close = trim_end(body_).size() - 1;
    if (body_[out_.close] != '}') return fails(simdjson::TAPE_ERROR), false;
    for (const PromptSpan& span : out_.spans) out_.prompt_bytes += span.size;
    return true;
  }

  simdjson::error_code json_error = simdjson::SUCCESS;

 private:
  bool fails(simdjson::error_code code) {
    if (code != simdjson::SUCCESS) json_error = code;
    return code != simdjson::SUCCESS;
  }

  std::size_t offset(const char* at) const { return static_cast<std::size_t>(at - body_.data()); }

  bool refuse(std::string_view code, std::string_view name, std::string message) {
    error_.code = code;
    error_.member = name;
    error_.message = std::move(message);
    return false;
  }

  // The bytes of a value. Containers are walked over to find their end, and stand at their beginning again.
  bool raw(ondemand::value& value, ondemand::json_type type, std::string_view& bytes) {
    if (type == ondemand::json_type::array) {
      ondemand::array array;
      if (fails(value.get_array().get(array)) || fails(array.raw_json().get(bytes))) return false;
      bytes = trim_end(bytes);
      array_ = array;
      return !fails(array_.reset().error());
    }
    if (type == ondemand::json_type::object) {
      ondemand::object object;
      if (fails(value.get_object().get(object)) || fails(object.raw_json().get(bytes))) return false;
      bytes = trim_end(bytes);
      object_ = object;
      return !fails(object_.reset().error());
    }
    bytes = trim_end(value.raw_json_token());
    return true;
  }

  // The text of a key or string, in place where it holds no escapes. Then nothing is left to be checked:
  // stage 1 has seen to UTF-8 and control characters.
  bool key_of(ondemand::field& field, std::string_view& key) {
    const char* begin = field.key().raw();
    const std::string_view rest = body_.substr(offset(begin));
    const std::size_t end = rest.find('"');
    key = rest.substr(0, end);
    if (end != std::string_view::npos && key.find('\\') == std::string_view::npos) return true;
    return !fails(field.unescaped_key().get(key)) && own(key);
  }

  bool text_of(ondemand::value& value, std::string_view& text) {
    text = trim_end(value.raw_json_token());
    if (text.size() >= 2 && text.back() == '"' && std::memchr(text.data(), '\\', text.size()) == nullptr) {
      text = text.substr(1, text.size() - 2);
      return true;
    }
    return !fails(value.get_string().get(text)) && own(text);
  }

  bool own(std::string_view& text) {
    text = *out_.unescaped.emplace_back(std::make_unique<std::string>(text));
    return true;
  }

  bool member(ondemand::field& field) {
    Member entry;
    entry.key_begin = offset(field.key().raw()) - 1;
    if (!key_of(field, entry.key)) return false;
    ondemand::value value = field.value();
    ondemand::json_type type;
    std::string_view bytes;
    if (fails(value.type().get(type)) || !raw(value, type, bytes)) return false;
    entry.value_begin = offset(bytes.data());
    entry.value_end = entry.value_begin + bytes.size();
    out_.members.push_back(entry);
    const Routing which = routing_member(entry.key);
    if (which == routing_members) return true;
    if ((seen_ & bit(which)) != 0) {
      return refuse("duplicate_member", routing_names[which],
                    "The member '" + std::string(routing_names[which]) +
                        "' stands twice; parsers differ in which one counts. Send it once.");
    }
    seen_ |= bit(which);
    if ((prompts_ & bit(which)) != 0) return prompt(which, value, type, bytes);
    return read(which, value, type);
  }

  // Types other than the expected are left to the engine, but for `model`, without which nothing can be
  // routed.
  bool read(Routing which, ondemand::value& value, ondemand::json_type type) {
    const bool string = type == ondemand::json_type::string;
    const bool number = type == ondemand::json_type::number;
    switch (which) {
      case r_model:
        if (type == ondemand::json_type::null) return true;
        if (!string) return refuse("invalid_member", "model", "Expected a string as 'model'.");
        out_.has_model = true;
        return text_of(value, out_.model);
      case r_rid: return !string || text_of(value, out_.rid);
      case r_user: return !string || text_of(value, out_.user);
      case r_stream: return type != ondemand::json_type::boolean || !fails(value.get_bool().get(out_.stream));
      case r_max_tokens:
      case r_max_completion_tokens:
      case r_max_output_tokens:
      case r_max_new_tokens: return !number || limit(value);
      case r_n: {
        std::uint64_t n = 0;
        if (number && value.get_uint64().get(n) == simdjson::SUCCESS) {
          out_.n = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(n, 1, 1024));
        }
        return true;
      }
      case r_priority: {
        std::int64_t priority = 0;
        if (number && value.get_int64().get(priority) == simdjson::SUCCESS) out_.priority = priority;
        return true;
      }
      case r_stream_options:
      case r_sampling_params: return type != ondemand::json_type::object || options(which);
      default: return true;
    }
  }

  bool limit(ondemand::value& value) {
    std::uint64_t tokens = 0;
    if (value.get_uint64().get(tokens) == simdjson::SUCCESS) {
      out_.max_tokens = std::max(out_.max_tokens.value_or(0), tokens);
    }
    return true;
  }

  bool options(Routing which) {
    for (auto item : object_) {
      ondemand::field field;
      std::string_view key;
      if (fails(std::move(item).get(field)) || !key_of(field, key)) return false;
      ondemand::value value = field.value();
      ondemand::json_type type;
      if (fails(value.type().get(type))) return false;
      if (which == r_stream_options && key == "include_usage" && type == ondemand::json_type::boolean &&
          fails(value.get_bool().get(out_.include_usage))) {
        return false;
      }
      if (which == r_sampling_params && key == "max_new_tokens" && type == ondemand::json_type::number)
        limit(value);
      if (which == r_sampling_params && key == "n" && type == ondemand::json_type::number)
        read(r_n, value, type);
    }
    return true;
  }

  void add(PromptSpan::Kind kind, std::string_view bytes, std::string_view role) {
    bytes = trim_end(bytes);  // simdjson's raw bytes reach up to the next token
    const bool quoted = kind == PromptSpan::Kind::text;
    if (quoted) bytes = bytes.substr(1, bytes.size() - 2);
    if (bytes.empty()) return;
    const bool escaped = quoted && std::memchr(bytes.data(), '\\', bytes.size()) != nullptr;
    out_.spans.push_back({role, bytes.data(), bytes.size(), kind, escaped});
  }

  bool prompt(Routing which, ondemand::value&, ondemand::json_type type, std::string_view bytes) {
    const std::size_t before = out_.spans.size();
    const bool leads = which == r_system || which == r_instructions;
    const std::string_view role = leads ? std::string_view("system") : std::string_view{};
    if (type == ondemand::json_type::string) {
      add(PromptSpan::Kind::text, bytes, role);
    } else if (type == ondemand::json_type::array && !items(ondemand::array(array_), bytes, role)) {
      return false;
    }
    // Engines put the system prompt first, wherever it stands in the body; prefixes are what caches are made
    // of.
    if (leads) {
      const auto first = out_.spans.begin();
      std::rotate(first, first + static_cast<std::ptrdiff_t>(before), out_.spans.end());
    }
    return true;
  }

  // The members of a prompt list: strings, token ids, lists of token ids, messages or content parts.
  bool items(ondemand::array list, std::string_view list_bytes, std::string_view role) {
    for (auto item : list) {
      ondemand::value value;
      ondemand::json_type type;
      if (fails(item.get(value)) || fails(value.type().get(type))) return false;
      switch (type) {
        case ondemand::json_type::string: add(PromptSpan::Kind::text, value.raw_json_token(), role); break;
        case ondemand::json_type::number: return add(PromptSpan::Kind::token_ids, list_bytes, role), true;
        case ondemand::json_type::array: {
          ondemand::array inner;
          std::string_view bytes;
          if (fails(value.get_array().get(inner)) || fails(inner.raw_json().get(bytes))) return false;
          add(PromptSpan::Kind::token_ids, bytes, role);
          break;
        }
        case ondemand::json_type::object: {
          ondemand::object object;
          if (fails(value.get_object().get(object)) || !message(object, role)) return false;
          break;
        }
        default: break;
      }
    }
    return true;
  }

  // A message {role, content} or a content part {type, text | image_url | ...}: members tell which. The role
  // may stand behind the content, so it is set at the end.
  bool message(ondemand::object& object, std::string_view role) {
    const std::size_t before = out_.spans.size();
    bool has_role = false;
    for (auto item : object) {
      ondemand::field field;
      std::string_view key;
      if (fails(std::move(item).get(field)) || !key_of(field, key)) return false;
      ondemand::value value = field.value();
      ondemand::json_type type;
      if (fails(value.type().get(type))) return false;
      if (key == "role" && type == ondemand::json_type::string) {
        if (!text_of(value, role)) return false;
        has_role = true;
      } else if (key == "content" || key == "text" || key == "output") {
        if (!content(value, type, role)) return false;
      } else if (reference(key)) {
        std::string_view bytes;
        if (!raw_nested(value, type, bytes)) return false;
        add(key == "tool_calls" ? PromptSpan::Kind::other : PromptSpan::Kind::image, bytes, role);
      }
    }
    if (has_role) {
      for (std::size_t i = before; i < out_.spans.size(); ++i) out_.spans[i].role = role;
    }
    return true;
  }

  static bool reference(std::string_view key) {
    return key == "image_url" || key == "source" || key == "input_audio" || key == "audio_url" ||
           key == "video_url" || key == "tool_calls";
  }

  bool raw_nested(ondemand::value& value, ondemand::json_type type, std::string_view& bytes) {
    if (type == ondemand::json_type::array) {
      ondemand::array array;
      return !fails(value.get_array().get(array)) && !fails(array.raw_json().get(bytes));
    }
    if (type == ondemand::json_type::object) {
      ondemand::object object;
      return !fails(value.get_object().get(object)) && !fails(object.raw_json().get(bytes));
    }
    bytes = value.raw_json_token();
    return true;
  }

  bool content(ondemand::value& value, ondemand::json_type type, std::string_view role) {
    if (type == ondemand::json_type::string) {
      add(PromptSpan::Kind::text, value.raw_json_token(), role);
      return true;
    }
    if (type != ondemand::json_type::array) return true;
    if (++depth_ > max_content_depth) {
      return refuse("invalid_member", "messages", "Message contents are nested deeper than 8 levels.");
    }
    ondemand::array parts;
    std::string_view bytes;
    const bool ok = !fails(value.get_array().get(parts)) && items(parts, bytes, role);
    --depth_;
    return ok;
  }

  static constexpr int max_content_depth = 8;

  std::string_view body_;
  std::uint32_t prompts_;
  BodyScan& out_;
  ScanError& error_;
  ondemand::array array_;  // the container that raw() has walked over
  ondemand::object object_;
  std::uint32_t seen_ = 0;
  int depth_ = 0;
};

}  // namespace

struct BodyScanner::State {
  ondemand::parser parser;
};

BodyScanner::BodyScanner() : state_(std::make_unique<State>()) {}
BodyScanner::~BodyScanner() = default;
BodyScanner::BodyScanner(BodyScanner&&) noexcept = default;
BodyScanner& BodyScanner::operator=(BodyScanner&&) noexcept = default;

void BodyScan::clear() noexcept {
  model = rid = user = {};
  max_tokens.reset();
  priority.reset();
  n = 1;
  has_model = stream = include_usage = false;
  open = close = 0;
  prompt_bytes = 0;
  spans.clear();
  members.clear();
  unescaped.clear();
}

bool BodyScanner::scan(std::string_view body, PromptMember prompt, BodyScan& out, ScanError& error) noexcept {
  out.clear();
  error = {};
  ondemand::parser& parser = state_->parser;
  simdjson::error_code code = simdjson::SUCCESS;
  // Powers of two, so that bodies that grow little by little do not allocate each time.
  if (parser.capacity() < body.size())
    code = parser.allocate(std::bit_ceil(std::max<std::size_t>(body.size(), 4096)));
  ondemand::document document;
  if (code == simdjson::SUCCESS) {
    code = parser.iterate(body.data(), body.size(), body.size() + scan_padding).get(document);
  }
  if (code == simdjson::SUCCESS) {
    out.open = body.find_first_not_of(" \t\r\n");
    Pass pass(body, prompt, out, error);
    if (pass.run(document)) return true;
    if (pass.json_error == simdjson::SUCCESS) return false;
    code = pass.json_error;
  }
  if (locate_json_error(body, error)) return false;
  error.code = out.open < body.size() && body[out.open] != '{' ? "body_not_object" : "invalid_json";
  error.message = error.code == "body_not_object"
                      ? "Expected a JSON object as body."
                      : "The body is not usable JSON: " + std::string(error_message(code));
  return false;
}

void BodyScanner::shrink(std::size_t keep_bytes) noexcept {
  if (capacity() > std::bit_ceil(std::max<std::size_t>(keep_bytes, 4096)))
    state_->parser = ondemand::parser();
}

std::size_t BodyScanner::capacity() const noexcept { return state_->parser.capacity(); }

}  // namespace tidegate::api
