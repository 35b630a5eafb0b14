#include "routing/transform.h"

#include <algorithm>

namespace tidegate::routing {
namespace {

constexpr std::uint64_t charge_step = 16 * 1024;

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

}  // namespace

// Where the first event that is whole ends, its blank line included; 0: there is none yet. Goes on where the
// last search ended.
std::size_t Transformer::event_end() noexcept {
  while (true) {
    const std::size_t end = held_.find_first_of("\r\n", searched_);
    searched_ = std::min(end, held_.size());
    if (end == std::string::npos) return 0;
    std::size_t next = end + 1;
    if (held_[end] == '\r') {
      if (next == held_.size()) return 0;  // a LF may belong to it
      if (held_[next] == '\n') ++next;
    }
    const bool blank = end == line_at_;
    line_at_ = searched_ = next;
    if (blank) return next;
  }
}

bool Transformer::feed(std::string_view bytes, std::string& out) {
  held_.append(bytes);
  if (event_stream_) {
    std::size_t begin = 0;
    while (const std::size_t end = event_end()) {
      event(std::string_view(held_).substr(begin, end - begin), out);
      begin = end;
    }
    held_.erase(0, begin);
    line_at_ -= begin;
    searched_ -= begin;
  }
  return held_.size() <= max_held && charge(held_.size());
}

// By steps, so that what comes and goes within one costs nothing.
bool Transformer::charge(std::size_t bytes) noexcept {
  const std::uint64_t wanted = bytes / charge_step * charge_step;
  if (budget_ == nullptr || wanted == charged_) return true;
  if (wanted > charged_ && !budget_->try_charge(wanted - charged_)) return false;
  if (wanted < charged_) budget_->release(charged_ - wanted);
  charged_ = wanted;
  return true;
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
  line_at_ = searched_ = 0;
}

}  // namespace tidegate::routing
