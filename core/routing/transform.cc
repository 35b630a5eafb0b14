#include "routing/transform.h"

#include <algorithm>

namespace tidegate::routing {
namespace {

// Length of the line at `from` without its end; `next` is where the following one begins. npos: no end yet.
std::size_t line_length(std::string_view text, std::size_t from, std::size_t& next) noexcept {
  const std::size_t end = text.find_first_of("\r\n", from);
  if (end == std::string_view::npos) return end;
  next = end + 1;
  if (text[end] == '\r') {
    if (next == text.size()) return std::string_view::npos;  // a LF may belong to it
    if (text[next] == '\n') ++next;
  }
  return end - from;
}

// End of the first whole event, its blank line included; 0: there is none.
std::size_t event_end(std::string_view text) noexcept {
  std::size_t at = 0, next = 0;
  while (true) {
    const std::size_t length = line_length(text, at, next);
    if (length == std::string_view::npos) return 0;
    if (length == 0) return next;
    at = next;
  }
}

}  // namespace

bool Transformer::feed(std::string_view bytes, std::string& out) {
  held_.append(bytes);
  if (event_stream_)
    while (const std::size_t size = event_end(held_)) {
      event(std::string_view(held_).substr(0, size), out);
      held_.erase(0, size);
    }
  return held_.size() <= max_held;
}

void Transformer::event(std::string_view text, std::string& out) {
  std::string data, rest;
  bool has_data = false;
  for (std::size_t at = 0, next = 0; at < text.size(); at = next) {
    const std::size_t length = line_length(text, at, next);
    if (length == std::string_view::npos || length == 0) break;
    std::string_view line = text.substr(at, length);
    if (!line.starts_with("data:") && line != "data") {
      rest.append(line).append("\n");
      continue;
    }
    line.remove_prefix(std::min<std::size_t>(line.size(), 5));
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data) data.append("\n");
    data.append(line);
    has_data = true;
  }
  std::string replaced;
  if (!has_data || !apply_(data, true, false, replaced)) {
    out.append(text);
    return;
  }
  if (replaced.empty()) return;
  out.append(rest);
  for (std::size_t at = 0; at <= replaced.size();) {
    const std::size_t end = std::min(replaced.find('\n', at), replaced.size());
    out.append("data: ").append(replaced, at, end - at).append("\n");
    at = end + 1;
  }
  out.append("\n");
}

void Transformer::end(std::string& out) {
  std::string replaced;
  if (!event_stream_) {
    out.append(apply_(held_, false, true, replaced) ? replaced : held_);
  } else {
    out.append(held_);
    if (apply_({}, true, true, replaced) && !replaced.empty())
      out.append("data: ").append(replaced).append("\n\n");
  }
  held_.clear();
}

}  // namespace tidegate::routing
