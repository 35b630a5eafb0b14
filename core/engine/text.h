// What: what the simulated engine says: how many tokens, which words; and JSON strings to say it in.
// Threads: pure functions.
// Ownership: appends to the caller's string.
// Errors: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tidegate::engine {

// The n-th token (from 0) of the answer to a prompt: a word with a blank before it, but for the first.
void append_token(std::string& out, std::uint64_t prompt_hash, std::uint32_t n);

struct OutputLength {
  std::uint32_t tokens = 0;
  bool cut = false;  // by max_tokens, rather than ended by the model
};
// Without a limit: by the prompt's hash, around `mean` with a long tail, like chat traffic.
OutputLength output_length(std::uint64_t prompt_hash, std::uint32_t mean,
                           std::optional<std::uint32_t> max_tokens, bool ignore_eos);

std::uint64_t mix(std::uint64_t x) noexcept;                // a well-spread 64-bit hash of a number
double unit_interval(std::uint64_t hash) noexcept;          // [0, 1)
void append_json(std::string& out, std::string_view text);  // quoted and escaped
std::string json_string(std::string_view text);

}  // namespace tidegate::engine
