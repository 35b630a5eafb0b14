#include "engine/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace tidegate::engine {

namespace {

constexpr std::array<std::string_view, 64> words = {
    "the",     "a",       "of",     "and",    "to",      "in",      "is",      "that",   "it",    "for",
    "as",      "with",    "on",     "was",    "tide",    "gate",    "water",   "sea",    "river", "boat",
    "wind",    "light",   "stone",  "bridge", "harbour", "morning", "evening", "quiet",  "slow",  "rising",
    "falling", "between", "under",  "over",   "north",   "south",   "east",    "west",   "far",   "near",
    "old",     "new",     "first",  "last",   "long",    "short",   "open",    "closed", "full",  "empty",
    "moon",    "star",    "salt",   "sand",   "rope",    "sail",    "anchor",  "pilot",  "chart", "signal",
    "lamp",    "bell",    "keeper", "shore"};

}  // namespace

std::uint64_t mix(std::uint64_t x) noexcept {  // the finalizer of SplitMix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

double unit_interval(std::uint64_t hash) noexcept { return static_cast<double>(hash >> 11) * 0x1p-53; }

void append_token(std::string& out, std::uint64_t prompt_hash, std::uint32_t n) {
  if (n > 0) out += ' ';
  out += words[mix(prompt_hash + n) % words.size()];
}

OutputLength output_length(std::uint64_t prompt_hash, std::uint32_t mean,
                           std::optional<std::uint32_t> max_tokens, bool ignore_eos) {
  // Exponential with the given mean: a long tail, most answers short.
  const double drawn = -std::log(1.0 - unit_interval(mix(prompt_hash ^ 0x5eed))) * mean;
  const auto natural = static_cast<std::uint32_t>(std::clamp(drawn, 1.0, 32.0 * mean));
  if (!max_tokens) return {natural, false};
  if (ignore_eos || *max_tokens <= natural) return {std::max(1u, *max_tokens), true};
  return {natural, false};
}

void append_json(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char escaped[8];
          std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
          out += escaped;
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  append_json(out, text);
  return out;
}

}  // namespace tidegate::engine
