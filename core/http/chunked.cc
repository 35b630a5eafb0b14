#include "http/chunked.h"

#include <algorithm>
#include <array>

#include "http/head_rules.h"

namespace tidegate::http {

namespace {

constexpr int hex_digit(unsigned char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr int max_digits = 16;

}  // namespace

// Order of states, and what may come in each:
//   size_first HEX -> size HEX* (';' -> extension)* CR -> size_lf LF -> data bytes -> data_cr CR -> data_lf
//   LF -> size_first; after a zero size: line_start (token -> name ':' -> value CR -> value_lf LF ->
//   line_start)* CR -> final_lf LF -> done.
ChunkedDecoder::Fault ChunkedDecoder::step_size_line(unsigned char c) noexcept {
  switch (state_) {
    case State::size_first:
    case State::size: {
      const int digit = hex_digit(c);
      if (digit >= 0) {
        if (digits_ == max_digits) return Fault::size_too_long;
        ++digits_;
        remaining_ = remaining_ << 4 | static_cast<std::uint64_t>(digit);
        state_ = State::size;
        return Fault::none;
      }
      if (state_ == State::size_first) return Fault::bad_size;
      if (c == '\r') {
        state_ = State::size_lf;
      } else if (c == ';') {
        counted_ = 1;
        state_ = State::extension;
      } else {
        return Fault::bad_size;
      }
      return Fault::none;
    }
    case State::extension:
      if (c == '\r') {
        state_ = State::size_lf;
        return Fault::none;
      }
      if (c < 0x20 || c > 0x7e) return Fault::bad_extension;
      return ++counted_ > max_extension_bytes ? Fault::extension_too_long : Fault::none;
    default:  // size_lf
      if (c != '\n') return Fault::bad_line_end;
      digits_ = 0;
      counted_ = 0;
      state_ = remaining_ == 0 ? State::line_start : State::data;
      return Fault::none;
  }
}

ChunkedDecoder::Fault ChunkedDecoder::step_trailer(unsigned char c) noexcept {
  // The CR of the final line does not count: the bound is for the section that is offered.
  if (!(state_ == State::line_start && c == '\r') && ++counted_ > max_trailer_bytes)
    return Fault::trailer_too_long;
  switch (state_) {
    case State::line_start:
      if (c == '\r') {
        state_ = State::final_lf;
        return Fault::none;
      }
      if (!head_rules::is_token_char(static_cast<char>(c))) return Fault::bad_trailer;
      state_ = State::name;
      return Fault::none;
    case State::name:
      if (c == ':') {
        state_ = State::value;
      } else if (!head_rules::is_token_char(static_cast<char>(c))) {
        return Fault::bad_trailer;
      }
      return Fault::none;
    case State::value:
      if (c == '\r') {
        state_ = State::value_lf;
      } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
        return Fault::bad_trailer;
      }
      return Fault::none;
    default:  // value_lf
      if (c != '\n') return Fault::bad_line_end;
      state_ = State::line_start;
      return Fault::none;
  }
}

ChunkedDecoder::Fault ChunkedDecoder::step(unsigned char c) noexcept {
  switch (state_) {
    case State::data_cr:
      if (c != '\r') return Fault::bad_data_end;
      state_ = State::data_lf;
      return Fault::none;
    case State::data_lf:
      if (c != '\n') return Fault::bad_data_end;
      state_ = State::size_first;
      return Fault::none;
    case State::final_lf:
      if (c != '\n') return Fault::bad_line_end;
      state_ = State::done;
      return Fault::none;
    case State::line_start:
    case State::name:
    case State::value:
    case State::value_lf: return step_trailer(c);
    default: return step_size_line(c);
  }
}

ChunkedDecoder::Step ChunkedDecoder::next(std::span<const char> in) noexcept {
  std::size_t at = 0;
  std::size_t trailer_from = in.size();
  while (true) {
    if (state_ == State::done || state_ == State::failed) {
      return {state_ == State::done ? Event::done : Event::error, at, {}};
    }
    if (state_ == State::data && at < in.size()) {
      const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, in.size() - at));
      remaining_ -= n;
      if (remaining_ == 0) state_ = State::data_cr;
      return {Event::data, at + n, in.subspan(at, n)};
    }
    const bool trailer_byte = state_ >= State::line_start && state_ <= State::value_lf && at < in.size() &&
                              !(state_ == State::line_start && in[at] == '\r');
    if (trailer_byte && trailer_from == in.size()) trailer_from = at;
    if (!trailer_byte && trailer_from < at) {
      return {Event::trailer, at, in.subspan(trailer_from, at - trailer_from)};
    }
    if (at == in.size()) return {Event::need_more, at, {}};
    fault_ = step(static_cast<unsigned char>(in[at]));
    if (fault_ != Fault::none) {
      state_ = State::failed;
      return {Event::error, at, {}};
    }
    ++at;
  }
}

std::string_view ChunkedDecoder::error() const noexcept {
  switch (fault_) {
    case Fault::none: return {};
    case Fault::bad_size: return "A chunk size must be hexadecimal digits, followed by CR LF or ';' at once.";
    case Fault::size_too_long: return "A chunk size has more than 16 digits.";
    case Fault::bad_extension: return "A chunk extension has bytes that are not printable ASCII.";
    case Fault::extension_too_long: return "A chunk extension is longer than 256 bytes.";
    case Fault::bad_line_end: return "A line of the chunked framing does not end with CR LF.";
    case Fault::bad_data_end: return "A chunk's data is not followed by CR LF: its size is wrong.";
    case Fault::bad_trailer: return "A trailer line is not 'Name: value'.";
    case Fault::trailer_too_long: return "The trailer section is longer than 8 KiB.";
  }
  return {};
}

bool forbidden_in_trailer(std::string_view name) noexcept {
  // RFC 9110 6.5.1: framing, routing, request modifiers, authentication, content handling.
  static constexpr std::array<std::string_view, 27> names{"connection",
                                                          "content-encoding",
                                                          "content-length",
                                                          "content-range",
                                                          "content-type",
                                                          "host",
                                                          "keep-alive",
                                                          "te",
                                                          "trailer",
                                                          "transfer-encoding",
                                                          "upgrade",
                                                          "authorization",
                                                          "proxy-authorization",
                                                          "proxy-authenticate",
                                                          "www-authenticate",
                                                          "proxy-connection",
                                                          "cache-control",
                                                          "expect",
                                                          "max-forwards",
                                                          "pragma",
                                                          "range",
                                                          "set-cookie",
                                                          "cookie",
                                                          "age",
                                                          "location",
                                                          "retry-after",
                                                          "vary"};
  for (std::string_view forbidden : names) {
    if (iequals(name, forbidden)) return true;
  }
  return name.size() >= 12 && iequals(name.substr(0, 12), "x-forwarded-");
}

bool parse_trailers(std::string_view section, std::vector<HeaderField>& out, bool obs_text) {
  while (!section.empty() && section != "\r\n") {
    const std::size_t end = section.find("\r\n");
    if (end == std::string_view::npos) return false;
    const std::string_view line = section.substr(0, end);
    section.remove_prefix(end + 2);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    const std::string_view name = line.substr(0, colon);
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    if (!is_token(name) || !is_field_value(value, obs_text)) return false;
    if (!forbidden_in_trailer(name)) out.push_back({name, value});
  }
  return true;
}

std::size_t write_chunk_head(char* out, std::uint64_t size) noexcept {
  std::size_t digits = 1;
  for (std::uint64_t rest = size >> 4; rest != 0; rest >>= 4) ++digits;
  for (std::size_t i = digits; i-- > 0; size >>= 4) out[i] = "0123456789abcdef"[size & 15];
  out[digits] = '\r';
  out[digits + 1] = '\n';
  return digits + 2;
}

}  // namespace tidegate::http
