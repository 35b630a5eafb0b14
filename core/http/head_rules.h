// What: the rules that a message head must keep beyond what Beast checks, and the reason given for each
// refusal.
//   Internal to the head parser, the trailer parser and the header rules; not for other folders.
// Threads: pure functions.
// Ownership: views in, views out.
// Errors: a Refusal by pointer, or null.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "http/head.h"

namespace tidegate::http::head_rules {

struct Refusal {
  std::uint16_t status;
  std::string_view code;
  std::string_view message;
};

inline constexpr Refusal head_too_large{431, "head_too_large",
                                        "The message head is larger than this server accepts; send fewer or "
                                        "shorter headers."};
inline constexpr Refusal too_many_fields{431, "too_many_headers",
                                         "The message has more header fields than this server accepts."};
inline constexpr Refusal bad_version{505, "http_version_not_supported",
                                     "Expected HTTP/1.1 or HTTP/1.0 without a protocol switch."};
inline constexpr Refusal bad_start{400, "malformed_head",
                                   "Expected a method or status line; is this plain HTTP/1.1 (not TLS)?"};
inline constexpr Refusal empty_lines{400, "malformed_head", "Expected a request line, found empty lines."};
inline constexpr Refusal no_version{
    400, "malformed_head", "Expected 'METHOD target HTTP/1.1' with single blanks in the first line."};
inline constexpr Refusal bad_method{400, "malformed_method",
                                    "The method must be one token and a single blank."};
inline constexpr Refusal connect_method{400, "method_not_supported",
                                        "CONNECT is not served: this is no proxy."};
inline constexpr Refusal bad_target{400, "malformed_target",
                                    "Expected a request target of the form '/path?query' with other bytes "
                                    "percent-encoded and no fragment."};
inline constexpr Refusal target_not_host{400, "malformed_target",
                                         "The absolute request target names another authority than Host."};
inline constexpr Refusal bad_status{400, "malformed_status", "Expected a status code of 100 to 599."};
inline constexpr Refusal bad_reason{400, "malformed_status", "The reason phrase has control characters."};
inline constexpr Refusal bad_field{
    400, "malformed_header", "Expected 'Name: value' with a token as name and no blank before the colon."};
inline constexpr Refusal disguised_field{
    400, "malformed_header",
    "A header name with '_' is another header's to servers that read '_' as '-'; send it with '-' or not at "
    "all."};
inline constexpr Refusal bad_value{400, "malformed_header",
                                   "A header value has control characters or a bad list."};
inline constexpr Refusal value_not_ascii{400, "malformed_header",
                                         "A header value has bytes above 0x7f; encode them in ASCII."};
inline constexpr Refusal bare_cr{400, "malformed_line_end", "Found CR without LF; lines end with CR LF."};
inline constexpr Refusal bare_lf{400, "malformed_line_end", "Found LF without CR; lines end with CR LF."};
inline constexpr Refusal folded{400, "folded_header",
                                "A header is folded over several lines; send it in one."};
inline constexpr Refusal host_missing{400, "host_missing", "HTTP/1.1 demands exactly one Host; found none."};
inline constexpr Refusal host_repeated{400, "host_repeated", "Expected exactly one Host; found more."};
inline constexpr Refusal host_malformed{400, "host_malformed", "Host must be a name or address, and a port."};
inline constexpr Refusal length_repeated{400, "content_length_repeated",
                                         "Expected exactly one Content-Length; found more."};
inline constexpr Refusal length_malformed{
    400, "content_length_malformed", "Content-Length must be one decimal number below 2^63, digits only."};
inline constexpr Refusal both_lengths{400, "both_lengths",
                                      "Content-Length and Transfer-Encoding exclude each other; send one."};
inline constexpr Refusal coding_repeated{400, "transfer_encoding_repeated",
                                         "Expected exactly one Transfer-Encoding; found more."};
inline constexpr Refusal coding_unknown{400, "transfer_encoding_unknown",
                                        "The only Transfer-Encoding served is 'chunked', alone."};
inline constexpr Refusal coding_on_http10{400, "transfer_encoding_unknown",
                                          "HTTP/1.0 has no Transfer-Encoding; send HTTP/1.1 or a length."};

bool is_token_char(char c) noexcept;
bool is_ascii(std::string_view s) noexcept;
// Whether a name with '_' reads, where '_' and '-' are the same (CGI, WSGI), as one that frames the message
// or that a gateway sets or drops.
bool is_disguised(std::string_view name) noexcept;
bool is_authority(std::string_view s) noexcept;  // host [":" port], no user, not empty
std::optional<std::uint64_t> parse_length(std::string_view s) noexcept;

// Adds the members of one Connection value to head.connection_names.
const Refusal* split_connection(std::string_view value, MessageHead& head);

// Looks at "METHOD target HTTP/x.y" for what must be answered before the head is whole: HTTP/0.9 and HTTP/2.
const Refusal* check_request_line(std::string_view line) noexcept;

// Checks the target's form against the method and reduces absolute-form; sets target, path and query.
const Refusal* check_target(RequestHead& head) noexcept;

}  // namespace tidegate::http::head_rules
