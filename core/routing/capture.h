// What: finds a top-level member in a drained JSON response, for captures.
// Threads: pure. Ownership: copies. Errors: false when the text is no JSON object or has no such member.
#pragma once

#include <string>
#include <string_view>

namespace tidegate::routing {

bool find_member(const std::string& json, std::string_view name, std::string& raw_value) noexcept;

}  // namespace tidegate::routing
