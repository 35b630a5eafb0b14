// What: the error envelope that clients get, in OpenAI's form, and the codes used in it.
// Threads: pure functions.
// Ownership: returns strings of the caller's.
// Errors: none; text that is not UTF-8 is made so.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tidegate::api {

// {"error":{"type":"<HTTP reason>","code":"<code>","message":"<message>","param":null | "<param>"}}
std::string error_body(int status, std::string_view code, std::string_view message,
                       std::string_view param = {});

// The same as one server-sent event: "data: {...}\n\n".
std::string sse_error_event(int status, std::string_view code, std::string_view message);

std::string_view reason_phrase(int status) noexcept;

// Appends `text` as the inside of a JSON string; what is not UTF-8 becomes U+FFFD.
void append_json_escaped(std::string& out, std::string_view text);

// Codes and the status each goes with, so that nobody spells them anew. Where a reason has a code of its own
// (head parser, body scan), that one is sent.
struct ErrorCode {
  int status;
  std::string_view code;
};

namespace errors {
inline constexpr ErrorCode invalid_json{400, "invalid_json"};
inline constexpr ErrorCode duplicate_member{400, "duplicate_member"};
inline constexpr ErrorCode body_not_object{400, "body_not_object"};
inline constexpr ErrorCode invalid_member{400, "invalid_member"};
inline constexpr ErrorCode missing_model{400, "missing_model"};
inline constexpr ErrorCode malformed_body{400, "malformed_body"};  // chunked framing
inline constexpr ErrorCode unauthorized{401, "unauthorized"};
inline constexpr ErrorCode not_found{404, "not_found"};
inline constexpr ErrorCode model_not_found{404, "model_not_found"};
inline constexpr ErrorCode method_not_allowed{405, "method_not_allowed"};
inline constexpr ErrorCode request_head_stalled{408, "request_head_stalled"};
inline constexpr ErrorCode request_body_stalled{408, "request_body_stalled"};
inline constexpr ErrorCode request_body_too_large{413, "request_body_too_large"};
inline constexpr ErrorCode body_budget_exhausted{503, "body_budget_exhausted"};
inline constexpr ErrorCode internal_error{500, "internal_error"};
inline constexpr ErrorCode plan_invalid{500, "plan_invalid"};
inline constexpr ErrorCode upstream_connect_failed{502, "upstream_connect_failed"};
inline constexpr ErrorCode upstream_reset{502, "upstream_reset"};
inline constexpr ErrorCode upstream_invalid_response{502, "upstream_invalid_response"};
inline constexpr ErrorCode upstream_response_too_large{502, "upstream_response_too_large"};
inline constexpr ErrorCode upstream_timeout{504, "upstream_timeout"};
inline constexpr ErrorCode no_available_workers{503, "no_available_workers"};
inline constexpr ErrorCode server_selection_failed{503, "server_selection_failed"};
inline constexpr ErrorCode draining{503, "draining"};
inline constexpr ErrorCode out_of_descriptors{503, "out_of_descriptors"};
}  // namespace errors

inline std::string error_body(ErrorCode code, std::string_view message, std::string_view param = {}) {
  return error_body(code.status, code.code, message, param);
}

inline std::string sse_error_event(ErrorCode code, std::string_view message) {
  return sse_error_event(code.status, code.code, message);
}

}  // namespace tidegate::api
