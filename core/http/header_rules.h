// What: writes the head that goes to an engine, from the client's parsed one: drops what belongs to one hop,
//   sets what a gateway must set, applies the edits of a route plan.
// Threads: pure functions.
// Ownership: reads views, appends to the caller's string; returned views point into head or context.
// Errors: a refused edit is returned by its index; nothing else can fail.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "http/head.h"

namespace tidegate::http {

struct HeaderEdit {
  enum class Kind : std::uint8_t { set, drop };
  Kind kind = Kind::set;
  std::string_view name;
  std::string_view value = {};  // of a set
};

// A plan may set or drop any header but those that delimit the message or name its receiver.
bool valid_edit(const HeaderEdit& edit) noexcept;

struct ForwardContext {
  std::string_view authority;        // the worker's, for Host
  std::string_view target = {};      // replaces the request's target if not empty
  std::string_view method = {};      // replaces the request's method if not empty
  std::string_view client_address;   // appended to X-Forwarded-For
  std::string_view scheme = "http";  // how the client came, for X-Forwarded-Proto
  std::string_view request_id;       // used if the client sent none that is sane
  std::string_view traceparent;      // used if the client sent none that is well-formed; empty = send none
  std::optional<std::string_view> authorization;  // replaces the client's; empty drops it
  std::optional<std::uint64_t> content_length;    // of the body that is sent; nullopt = no body, no length
  std::span<const HeaderEdit> edits = {};
};

struct Forwarded {
  bool ok = true;
  std::size_t bad_edit = 0;  // index of the refused edit if not ok; `out` is unchanged then
  std::string_view request_id;
  std::string_view traceparent;
};

// Appends "METHOD target HTTP/1.1\r\n", the headers and the empty line to `out`.
Forwarded write_request_head(const RequestHead& head, const ForwardContext& context, std::string& out);

bool sane_request_id(
    std::string_view id) noexcept;  // 1 to 128 printable characters without blanks and quotes
bool valid_traceparent(
    std::string_view s) noexcept;                 // W3C: 00-<32 hex, not all 0>-<16 hex, not all 0>-<2 hex>
bool hop_by_hop(std::string_view name) noexcept;  // whatever Connection says
bool hop_by_hop(const HeaderField& field) noexcept;

}  // namespace tidegate::http
