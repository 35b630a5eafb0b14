#include "http/sse_usage.h"

#include <cstring>

namespace tidegate::http {

namespace {

constexpr std::size_t npos = std::string_view::npos;

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::size_t skip_blanks(std::string_view s, std::size_t at) {
  while (at < s.size() && blank(s[at])) ++at;
  return at;
}

// `at` stands on an opening quote; the offset behind the closing one, or npos.
std::size_t skip_string(std::string_view s, std::size_t at) {
  for (++at; at < s.size(); ++at) {
    if (s[at] == '\\') {
      ++at;
    } else if (s[at] == '"') {
      return at + 1;
    }
  }
  return npos;
}

// How deep the member whose value ends before `behind` stands in the object that ends `json`: 0 is its top
// level. The closing brackets behind the value tell, so nothing before it need be there. -1 if `json` does
// not end so.
int depth_of(std::string_view json, std::size_t behind) {
  int depth = 0;
  int lowest = 0;
  std::size_t last = 0;
  for (std::size_t at = behind; at < json.size();) {
    const char c = json[at];
    if (c == '"') {
      at = skip_string(json, at);
      if (at == npos) return -1;
      last = at;
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth < lowest) lowest = depth;
    ++at;
    if (!blank(c)) last = at;
  }
  if (last == 0 || json[last - 1] != '}' || depth != lowest) return -1;
  return -depth - 1;
}

std::int64_t number_at(std::string_view s, std::size_t at) {
  std::int64_t value = 0;
  const std::size_t from = at;
  for (; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at) {
    if (at - from == 15) return TokenUsage::unknown;
    value = value * 10 + (s[at] - '0');
  }
  if (at == from || at >= s.size() || (!blank(s[at]) && s[at] != ',' && s[at] != '}'))
    return TokenUsage::unknown;
  return value;
}

// Takes what one member of a usage object says. `depth` 1 is the object itself, 2 its *_details.
void take(TokenUsage& out, std::string_view key, int depth, std::int64_t value) {
  if (value == TokenUsage::unknown) return;
  if (depth == 1 && (key == "prompt_tokens" || key == "input_tokens")) out.prompt = value;
  if (depth == 1 && (key == "completion_tokens" || key == "output_tokens")) out.completion = value;
  if (key == "cached_tokens" || (depth == 1 && key == "cache_read_input_tokens")) out.cached = value;
}

// `json` from the '{' of a usage object on; `length`: of the object, 0 if it does not end.
TokenUsage read_object(std::string_view json, std::size_t& length) {
  TokenUsage out;
  int depth = 0;
  for (std::size_t at = 0; at < json.size();) {
    const char c = json[at];
    if (c == '"') {
      const std::size_t end = skip_string(json, at);
      if (end == npos) return {};
      const std::size_t colon = skip_blanks(json, end);
      if (depth <= 2 && colon < json.size() && json[colon] == ':') {
        const std::string_view key = json.substr(at + 1, end - at - 2);
        take(out, key, depth, number_at(json, skip_blanks(json, colon + 1)));
      }
      at = end;
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    ++at;
    if ((c == '}' || c == ']') && --depth == 0) {
      length = at;
      return out;
    }
  }
  return {};
}

}  // namespace

std::size_t find_key(std::string_view json, std::string_view key) noexcept {
  std::size_t found = npos;
  for (std::size_t from = 0; from < json.size();) {
    const void* hit = memmem(json.data() + from, json.size() - from, key.data(), key.size());
    if (hit == nullptr) break;
    const std::size_t at = static_cast<std::size_t>(static_cast<const char*>(hit) - json.data());
    from = at + key.size();
    if (at > 0 && json[at - 1] == '\\') continue;
    const std::size_t colon = skip_blanks(json, from);
    if (colon >= json.size() || json[colon] != ':') continue;
    const std::size_t value = skip_blanks(json, colon + 1);
    if (value < json.size()) found = value;
  }
  return found;
}

namespace {

// The same from the end on, for bodies that are known to end with what is looked for.
std::size_t find_key_near_the_end(std::string_view json, std::string_view key) noexcept {
  for (std::size_t end = json.size(); end >= key.size();) {
    const void* quote = memrchr(json.data(), '"', end);
    if (quote == nullptr) return npos;
    end = static_cast<std::size_t>(static_cast<const char*>(quote) - json.data());
    if (end + 1 < key.size()) return npos;
    const std::size_t at = end + 1 - key.size();
    if (json.substr(at, key.size()) != key || (at > 0 && json[at - 1] == '\\')) continue;
    const std::size_t colon = skip_blanks(json, end + 1);
    if (colon >= json.size() || json[colon] != ':') continue;
    const std::size_t value = skip_blanks(json, colon + 1);
    if (value < json.size()) return value;
  }
  return npos;
}

TokenUsage usage_at(std::string_view json, std::size_t value, int max_depth) noexcept {
  if (value == npos || json[value] != '{') return {};
  std::size_t length = 0;
  const TokenUsage usage = read_object(json.substr(value), length);
  if (length == 0) return {};
  const int depth = depth_of(json, value + length);
  return depth < 0 || depth > max_depth ? TokenUsage{} : usage;
}

}  // namespace

TokenUsage usage_member(std::string_view json, std::string_view key, int max_depth) noexcept {
  return usage_at(json, find_key(json, key), max_depth);
}

void merge_usage(TokenUsage& into, const TokenUsage& from) noexcept {
  if (from.prompt != TokenUsage::unknown) into.prompt = from.prompt;
  if (from.completion != TokenUsage::unknown) into.completion = from.completion;
  if (from.cached != TokenUsage::unknown) into.cached = from.cached;
}

TokenUsage read_usage(std::string_view json, bool nested) noexcept {
  const int depth = nested ? 1 : 0;
  const TokenUsage usage = usage_at(json, find_key_near_the_end(json, "\"usage\""), depth);
  return usage.known() ? usage : usage_at(json, find_key_near_the_end(json, "\"meta_info\""), depth);
}

}  // namespace tidegate::http
