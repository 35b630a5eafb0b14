// What: finds usage numbers in the text of a JSON object without parsing it from its start. Internal to the
// stream
//   observers.
// Threads: pure functions.
// Ownership: views in, numbers out.
// Errors: what is not understood is unknown.
#pragma once

#include <cstddef>
#include <string_view>

#include "http/sse.h"

namespace tidegate::http {

// Offset of the value of the last member `key` (given with its quotes), or npos. In valid JSON a quote that
// opens a key is never behind a backslash, and text inside strings has its quotes escaped: no string can fake
// a key.
std::size_t find_key(std::string_view json, std::string_view key) noexcept;

// The numbers of the object that the last member `key` holds, if that member stands at most `max_depth`
// levels below the top level of the object that ends `json`.
TokenUsage usage_member(std::string_view json, std::string_view key, int max_depth) noexcept;

void merge_usage(TokenUsage& into, const TokenUsage& from) noexcept;

}  // namespace tidegate::http
