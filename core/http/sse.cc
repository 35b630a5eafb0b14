#include "http/sse.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "http/sse_usage.h"

namespace tidegate::http {

namespace {

constexpr std::size_t head_bytes = 256;
constexpr std::size_t tail_bytes = 8064;
constexpr std::size_t whole_bytes = head_bytes + tail_bytes;
constexpr std::size_t held_bytes = 16 * 1024;

// One spare buffer a thread: streams whose events straddle take turns with it, so nothing is allocated in the
// long run and a stream between events owns nothing.
thread_local std::string spare;

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view skip_blanks(std::string_view s) {
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  return s;
}

// True if a member `key` (with its quotes) has a value that starts with one of `values`, or is absent.
bool absent_or(std::string_view json, std::string_view key, std::initializer_list<std::string_view> values) {
  const std::size_t at = find_key(json, key);
  if (at == std::string_view::npos) return true;
  const std::string_view value = json.substr(at);
  return std::any_of(values.begin(), values.end(), [&](std::string_view v) { return value.starts_with(v); });
}

bool empty_choices(std::string_view json) {
  const std::size_t at = find_key(json, "\"choices\"");
  if (at == std::string_view::npos || json[at] != '[') return false;
  return skip_blanks(json.substr(at + 1)).starts_with(']');
}

bool role_only(std::string_view json) {
  return find_key(json, "\"role\"") != std::string_view::npos &&
         absent_or(json, "\"content\"", {"\"\"", "null"}) &&
         absent_or(json, "\"reasoning_content\"", {"\"\"", "null"}) &&
         absent_or(json, "\"tool_calls\"", {"null", "[]"});
}

}  // namespace

// Walks the lines of one slice. Positions of the next CR and LF are remembered, so that a stream with one
// kind of line end only is not searched for the other again and again.
void SseObserver::feed(std::span<const char> slice) noexcept {
  const char* at = slice.data();
  const char* const end = at + slice.size();
  const char* next_lf = nullptr;
  const char* next_cr = nullptr;
  const auto next = [end](const char*& known, const char* from, char c) {
    if (known == nullptr || known < from) {
      known = static_cast<const char*>(std::memchr(from, c, static_cast<std::size_t>(end - from)));
      if (known == nullptr) known = end;
    }
  };
  while (at < end) {
    if (after_cr_) {
      after_cr_ = false;
      if (*at == '\n' && ++at == end) break;
    }
    next(next_lf, at, '\n');
    next(next_cr, at, '\r');
    const char* const stop = std::min(next_lf, next_cr);
    if (stop > at) line_part({at, static_cast<std::size_t>(stop - at)});
    if (stop == end) break;
    after_cr_ = *stop == '\r';
    line_end();
    at = stop + 1;
  }
  if (!slice_data_.empty()) hold();
}

std::string_view SseObserver::closing() const noexcept {
  const bool between = line_ == Line::start && !has_field_;
  return between ? std::string_view{} : std::string_view("\n\n");
}

void SseObserver::line_part(std::string_view part) noexcept {
  if (line_ == Line::start || line_ == Line::name) {
    // Usually the whole line is here and the name is decided in place.
    if (name_size_ == 0 && part.size() >= sizeof name_) return decide(part);
    const std::size_t n = std::min(part.size(), sizeof name_ - name_size_);
    std::memcpy(name_ + name_size_, part.data(), n);
    name_size_ = static_cast<std::uint8_t>(name_size_ + n);
    line_ = Line::name;
    if (name_size_ < sizeof name_) return;
    // Copies of held bytes would dangle in slice_data_: decide() gets a text that data_part() holds at once.
    hold();
    decide({name_, name_size_});
    if (!slice_data_.empty()) hold();
    part.remove_prefix(n);
    if (part.empty()) return;
  }
  if (line_ == Line::data) return data_part(part);
  if (line_ != Line::event) return;
  for (char c : part) {
    if (skip_blank_ && c == ' ') {
      skip_blank_ = false;
      continue;
    }
    skip_blank_ = false;
    if (event_size_ == sizeof event_tail_) {
      std::memmove(event_tail_, event_tail_ + 1, sizeof event_tail_ - 1);
      --event_size_;
    }
    event_tail_[event_size_++] = c;
  }
}

// `text` is a line's beginning, long enough to tell its field; or a whole short line.
void SseObserver::decide(std::string_view text) noexcept {
  if (first_line_ && text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  first_line_ = false;
  name_size_ = 0;
  const auto field = [&](std::string_view name) {
    return text.starts_with(name) && (text.size() == name.size() || text[name.size()] == ':');
  };
  if (field("data")) {
    if (has_data_) {
      hold();
      append_held("\n");
    }
    line_ = Line::data;
    has_data_ = has_field_ = skip_blank_ = true;
    text.remove_prefix(std::min<std::size_t>(text.size(), 5));
    if (!text.empty()) data_part(text);
  } else if (field("event")) {
    line_ = Line::event;
    has_field_ = skip_blank_ = true;
    event_size_ = 0;
    text.remove_prefix(std::min<std::size_t>(text.size(), 6));
    if (!text.empty()) line_part(text);
  } else {
    line_ = Line::ignored;
    if (!text.starts_with(':')) has_field_ = true;
  }
}

void SseObserver::line_end() noexcept {
  if (line_ == Line::name) {
    hold();
    // A line that is a byte order mark alone is an empty one.
    const std::string_view text(name_, name_size_);
    if (first_line_ && text == "\xef\xbb\xbf") {
      name_size_ = 0;
      first_line_ = false;
      line_ = Line::start;
    } else {
      decide(text);
      if (!slice_data_.empty()) hold();
    }
  }
  first_line_ = false;
  const bool empty = line_ == Line::start;
  line_ = Line::start;
  skip_blank_ = false;
  if (!empty) return;
  if (has_data_) dispatch();
  has_data_ = has_field_ = false;
  event_size_ = 0;
}

void SseObserver::data_part(std::string_view part) noexcept {
  if (skip_blank_) {
    skip_blank_ = false;
    if (part.front() == ' ') part.remove_prefix(1);
    if (part.empty()) return;
  }
  if (total_ == 0) {
    slice_data_ = part;
    total_ = part.size();
  } else {
    hold();
    append_held(part);
  }
}

void SseObserver::hold() noexcept {
  if (slice_data_.empty()) return;
  const std::string_view part = slice_data_;
  slice_data_ = {};
  total_ = 0;
  append_held(part);
}

void SseObserver::append_held(std::string_view part) noexcept {
  if (held_.empty() && held_.capacity() < spare.capacity()) held_.swap(spare);
  total_ += part.size();
  const std::size_t needed = std::min(held_.size() + part.size(), held_bytes);
  if (needed > held_.capacity()) held_.reserve(std::bit_ceil(std::max<std::size_t>(needed, 1024)));
  if (held_.size() < head_bytes) {
    const std::size_t n = std::min(part.size(), head_bytes - held_.size());
    held_.append(part.substr(0, n));
    part.remove_prefix(n);
  }
  if (part.size() >= tail_bytes) {
    held_.resize(head_bytes);
    part.remove_prefix(part.size() - tail_bytes);
  } else if (held_.size() + part.size() > held_bytes) {
    held_.erase(head_bytes, held_.size() - head_bytes - (tail_bytes - part.size()));
  }
  held_.append(part);
}

void SseObserver::release() noexcept {
  slice_data_ = {};
  total_ = 0;
  held_.clear();
  if (spare.capacity() < held_.capacity()) spare.swap(held_);
  std::string().swap(held_);
}

void SseObserver::dispatch() noexcept {
  const std::string_view payload = slice_data_.empty() ? std::string_view(held_) : slice_data_;
  const bool whole = total_ <= whole_bytes;
  ++stats_.events;
  if (whole) {
    classify(payload, payload, true);
  } else {
    classify(payload.substr(0, head_bytes), payload.substr(payload.size() - tail_bytes), false);
  }
  release();
}

void SseObserver::classify(std::string_view head, std::string_view tail, bool whole) noexcept {
  if (whole && head == "[DONE]") {
    stats_.done = true;
    return;
  }
  const std::string_view name(event_tail_, event_size_);
  const bool named = !name.empty() && name != "message";
  const std::string_view object = skip_blanks(head);
  if (name == "error" ||
      (object.starts_with('{') && skip_blanks(object.substr(1)).starts_with("\"error\""))) {
    ++stats_.error_events;
    return;
  }
  if (!object.starts_with('{')) return;
  if (family_ == Family::unknown) {
    const bool generate = find_key(tail, "\"meta_info\"") != std::string_view::npos;
    family_ = generate ? Family::meta_info : Family::choices;
  }
  const std::string_view key = family_ == Family::meta_info ? "\"meta_info\"" : "\"usage\"";
  const TokenUsage usage = usage_member(tail, key, named ? 1 : 0);
  merge_usage(stats_.usage, usage);
  if (named) {
    if (name.ends_with("delta") && name != "message_delta") ++stats_.token_events;
    return;
  }
  if (usage.known() && family_ == Family::choices && (empty_choices(head) || (!whole && empty_choices(tail))))
    return;
  if (stats_.token_events == 0 && whole && family_ == Family::choices && role_only(head)) return;
  ++stats_.token_events;
}

void JsonTailObserver::feed(std::span<const char> slice) noexcept {
  std::string_view part(slice.data(), slice.size());
  if (part.size() >= tail_bytes) {
    tail_.clear();
    part.remove_prefix(part.size() - tail_bytes);
  } else if (tail_.size() + part.size() > held_bytes) {
    tail_.erase(0, tail_.size() + part.size() - tail_bytes);
  }
  tail_.append(part);
}

TokenUsage JsonTailObserver::finish() noexcept {
  const std::size_t skip = tail_.size() > tail_bytes ? tail_.size() - tail_bytes : 0;
  const TokenUsage usage = read_usage(std::string_view(tail_).substr(skip), false);
  std::string().swap(tail_);
  return usage;
}

}  // namespace tidegate::http
