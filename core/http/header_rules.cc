#include "http/header_rules.h"

#include <algorithm>
#include <boost/beast/http/field.hpp>
#include <charconv>

#include "http/head_rules.h"

namespace tidegate::http {

namespace beast_http = boost::beast::http;

namespace {

// What becomes of a client's header on its way to an engine.
enum class Fate : std::uint8_t {
  pass,
  drop,
  host,
  forwarded_for,
  forwarded_host,
  request_id,
  traceparent,
  authorization
};

Fate fate_of_name(std::string_view name) noexcept {
  // The length sorts out nearly everything before a letter is compared.
  switch (name.size()) {
    case 2: return iequals(name, "te") ? Fate::drop : Fate::pass;
    case 4: return iequals(name, "host") ? Fate::host : Fate::pass;
    case 6: return iequals(name, "expect") ? Fate::drop : Fate::pass;
    case 7: return iequals(name, "upgrade") || iequals(name, "trailer") ? Fate::drop : Fate::pass;
    case 10:
      if (iequals(name, "connection") || iequals(name, "keep-alive")) return Fate::drop;
      return Fate::pass;
    case 11: return iequals(name, "traceparent") ? Fate::traceparent : Fate::pass;
    case 12: return iequals(name, "x-request-id") ? Fate::request_id : Fate::pass;
    case 13: return iequals(name, "authorization") ? Fate::authorization : Fate::pass;
    case 14:
      return iequals(name, "content-length") || iequals(name, "http2-settings") ? Fate::drop : Fate::pass;
    case 15:
      if (iequals(name, "accept-encoding")) return Fate::drop;
      return iequals(name, "x-forwarded-for") ? Fate::forwarded_for : Fate::pass;
    case 16:
      if (iequals(name, "proxy-connection")) return Fate::drop;
      return iequals(name, "x-forwarded-host") ? Fate::forwarded_host : Fate::pass;
    case 17:
      if (iequals(name, "transfer-encoding") || iequals(name, "x-forwarded-proto")) return Fate::drop;
      return Fate::pass;
    case 18: return iequals(name, "proxy-authenticate") ? Fate::drop : Fate::pass;
    case 19: return iequals(name, "proxy-authorization") ? Fate::drop : Fate::pass;
    default: return Fate::pass;
  }
}

// The parser has recognised most names already.
Fate fate_of(const HeaderField& field) noexcept {
  switch (static_cast<beast_http::field>(field.known)) {
    case beast_http::field::unknown: return fate_of_name(field.name);
    case beast_http::field::host: return Fate::host;
    case beast_http::field::authorization: return Fate::authorization;
    case beast_http::field::accept_encoding:
    case beast_http::field::connection:
    case beast_http::field::content_length:
    case beast_http::field::expect:
    case beast_http::field::http2_settings:
    case beast_http::field::keep_alive:
    case beast_http::field::proxy_authenticate:
    case beast_http::field::proxy_authorization:
    case beast_http::field::proxy_connection:
    case beast_http::field::te:
    case beast_http::field::trailer:
    case beast_http::field::transfer_encoding:
    case beast_http::field::upgrade: return Fate::drop;
    default: return Fate::pass;
  }
}

bool contains(std::span<const std::string_view> names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](std::string_view n) { return iequals(n, name); });
}

bool edited(std::span<const HeaderEdit> edits, std::string_view name) {
  return std::any_of(edits.begin(), edits.end(), [&](const HeaderEdit& e) { return iequals(e.name, name); });
}

// One growth and plain copies: a request's head has a dozen lines.
void line(std::string& out, std::string_view name, std::string_view value) {
  const std::size_t before = out.size();
  out.resize(before + name.size() + value.size() + 4);
  char* at = std::copy(name.begin(), name.end(), out.data() + before);
  *at++ = ':';
  *at++ = ' ';
  at = std::copy(value.begin(), value.end(), at);
  *at++ = '\r';
  *at = '\n';
}

void length_line(std::string& out, std::uint64_t length) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, length).ptr;
  line(out, "Content-Length", {digits, static_cast<std::size_t>(end - digits)});
}

// What was seen while the client's headers were copied.
struct Seen {
  std::string_view forwarded_host, request_id, traceparent, authorization;
  bool request_id_twice = false, traceparent_twice = false, forwarded_for = false;
};

void note(std::string_view& slot, bool& twice, std::string_view value) {
  twice = twice || !slot.empty();
  slot = value;
}

void copy_headers(const RequestHead& head, const ForwardContext& context, Seen& seen, std::string& out) {
  for (const HeaderField& field : head.fields) {
    switch (fate_of(field)) {
      case Fate::drop:
      case Fate::host: break;
      case Fate::forwarded_for: seen.forwarded_for = true; break;
      case Fate::forwarded_host: seen.forwarded_host = field.value; break;
      case Fate::request_id: note(seen.request_id, seen.request_id_twice, field.value); break;
      case Fate::traceparent: note(seen.traceparent, seen.traceparent_twice, field.value); break;
      case Fate::authorization:
        if (context.authorization || edited(context.edits, field.name)) break;
        [[fallthrough]];
      case Fate::pass:
        if (!head.connection_names.empty() && contains(head.connection_names, field.name)) break;
        if (!context.edits.empty() && edited(context.edits, field.name)) break;
        line(out, field.name, field.value);
    }
  }
}

void forwarded_lines(const RequestHead& head, const ForwardContext& context, const Seen& seen,
                     std::string& out) {
  if (!edited(context.edits, "x-forwarded-for")) {
    out.append("X-Forwarded-For: ");
    if (seen.forwarded_for) {
      for (const HeaderField& field : head.fields) {
        if (fate_of(field) == Fate::forwarded_for && !field.value.empty())
          out.append(field.value).append(", ");
      }
    }
    out.append(context.client_address).append("\r\n");
  }
  if (!edited(context.edits, "x-forwarded-proto")) line(out, "X-Forwarded-Proto", context.scheme);
  const std::string_view host = seen.forwarded_host.empty() ? head.host : seen.forwarded_host;
  if (!host.empty() && !edited(context.edits, "x-forwarded-host")) line(out, "X-Forwarded-Host", host);
}

void append_edits(std::span<const HeaderEdit> edits, std::string& out) {
  for (std::size_t i = 0; i < edits.size(); ++i) {
    if (edits[i].kind != HeaderEdit::Kind::set) continue;
    if (edited(edits.subspan(i + 1), edits[i].name)) continue;  // the last edit of a name counts
    line(out, edits[i].name, edits[i].value);
  }
}

}  // namespace

bool hop_by_hop(const HeaderField& field) noexcept {
  switch (static_cast<beast_http::field>(field.known)) {
    case beast_http::field::unknown: return hop_by_hop(field.name);
    case beast_http::field::connection:
    case beast_http::field::keep_alive:
    case beast_http::field::proxy_authenticate:
    case beast_http::field::proxy_authentication_info:
    case beast_http::field::proxy_authorization:
    case beast_http::field::proxy_connection:
    case beast_http::field::te:
    case beast_http::field::trailer:
    case beast_http::field::transfer_encoding:
    case beast_http::field::upgrade: return true;
    default: return false;
  }
}

bool hop_by_hop(std::string_view name) noexcept {
  switch (name.size()) {
    case 2: return iequals(name, "te");
    case 7: return iequals(name, "upgrade") || iequals(name, "trailer");
    case 10: return iequals(name, "connection") || iequals(name, "keep-alive");
    case 16: return iequals(name, "proxy-connection");
    case 17: return iequals(name, "transfer-encoding");
    case 18: return iequals(name, "proxy-authenticate");
    case 19: return iequals(name, "proxy-authorization");
    case 25: return iequals(name, "proxy-authentication-info");
    default: return false;
  }
}

bool valid_edit(const HeaderEdit& edit) noexcept {
  if (!is_token(edit.name) || hop_by_hop(edit.name)) return false;
  if (iequals(edit.name, "content-length") || iequals(edit.name, "host") || iequals(edit.name, "expect"))
    return false;
  return edit.kind == HeaderEdit::Kind::drop || is_field_value(edit.value, true);
}

Forwarded write_request_head(const RequestHead& head, const ForwardContext& context, std::string& out) {
  Forwarded result;
  for (const HeaderEdit& edit : context.edits) {
    if (valid_edit(edit)) continue;
    result.ok = false;
    result.bad_edit = static_cast<std::size_t>(&edit - context.edits.data());
    return result;
  }
  out.append(context.method.empty() ? head.method : context.method).append(" ");
  out.append(context.target.empty() ? head.target : context.target).append(" HTTP/1.1\r\n");
  line(out, "Host", context.authority);
  Seen seen;
  copy_headers(head, context, seen, out);
  if (context.authorization && !context.authorization->empty() && !edited(context.edits, "authorization")) {
    line(out, "Authorization", *context.authorization);
  }
  // Compressed bytes can't be watched for tokens and usage.
  if (!edited(context.edits, "accept-encoding")) line(out, "Accept-Encoding", "identity");
  forwarded_lines(head, context, seen, out);
  const bool keep_id = !seen.request_id_twice && sane_request_id(seen.request_id);
  result.request_id = keep_id ? seen.request_id : context.request_id;
  if (!result.request_id.empty() && !edited(context.edits, "x-request-id")) {
    line(out, "X-Request-Id", result.request_id);
  }
  const bool keep_trace = !seen.traceparent_twice && valid_traceparent(seen.traceparent);
  result.traceparent = keep_trace ? seen.traceparent : context.traceparent;
  if (!result.traceparent.empty() && !edited(context.edits, "traceparent")) {
    line(out, "Traceparent", result.traceparent);
  }
  append_edits(context.edits, out);
  if (context.content_length) length_line(out, *context.content_length);
  out.append("\r\n");
  return result;
}

bool sane_request_id(std::string_view id) noexcept {
  if (id.empty() || id.size() > 128) return false;
  return std::all_of(id.begin(), id.end(),
                     [](char c) { return c > 0x20 && c < 0x7f && c != '"' && c != '\\'; });
}

bool valid_traceparent(std::string_view s) noexcept {
  if (s.size() != 55 || !s.starts_with("00-") || s[35] != '-' || s[52] != '-') return false;
  const auto hex = [](std::string_view part) {
    return std::all_of(part.begin(), part.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  };
  const std::string_view trace = s.substr(3, 32), parent = s.substr(36, 16);
  const auto zero = [](std::string_view part) {
    return part.find_first_not_of('0') == std::string_view::npos;
  };
  return hex(trace) && hex(parent) && hex(s.substr(53)) && !zero(trace) && !zero(parent);
}

}  // namespace tidegate::http
