#include "http_response.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

namespace tidegate::bench {
namespace {

bool same(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

void ResponseReader::restart() noexcept {
  state_ = State::kHead;
  line_.clear();
  error_.clear();
  left_ = body_bytes_ = 0;
  status_ = 0;
  chunked_ = has_length_ = false;
  keep_alive_ = true;
}

std::string_view ResponseReader::step(std::string_view& data) {
  switch (state_) {
    case State::kHead: take_head(data); return {};
    case State::kLength: return take_body(data, State::kDone);
    case State::kChunkData: return take_body(data, State::kChunkEnd);
    case State::kChunkSize:
      if (take_line(data)) parse_chunk_size();
      return {};
    case State::kChunkEnd:
      if (take_line(data)) {
        if (!line_.empty()) error_ = "chunk longer than its size";
        state_ = State::kChunkSize;
      }
      return {};
    case State::kTrailer:
      if (take_line(data)) {
        if (line_.empty()) state_ = State::kDone;
        line_.clear();
      }
      return {};
    case State::kDone: break;
  }
  return {};
}

void ResponseReader::take_head(std::string_view& data) {
  const std::size_t before = line_.size();
  line_.append(data);
  const auto end = line_.find("\r\n\r\n", before > 3 ? before - 3 : 0);
  if (end == std::string::npos) {
    data = {};
    if (line_.size() > 65536) error_ = "response head over 64 KiB";
    return;
  }
  data.remove_prefix(end + 4 - before);
  line_.resize(end + 2);
  parse_head();
  line_.clear();
}

void ResponseReader::parse_head() {
  const std::string_view head = line_;
  if (!head.starts_with("HTTP/1.1 ") || head.size() < 12) {
    error_ = "not an HTTP/1.1 status line: " + std::string(head.substr(0, 40));
    return;
  }
  std::from_chars(head.data() + 9, head.data() + 12, status_);
  for (auto at = head.find("\r\n") + 2; at < head.size();) {
    const auto end = head.find("\r\n", at);
    parse_field(head.substr(at, end - at));
    at = end + 2;
  }
  if (chunked_) {
    state_ = State::kChunkSize;
  } else if (has_length_) {
    state_ = left_ == 0 ? State::kDone : State::kLength;
  } else {
    error_ = "neither content-length nor chunked";
  }
}

void ResponseReader::parse_field(std::string_view line) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view name = line.substr(0, colon);
  std::string_view value = line.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  if (same(name, "content-length")) {
    has_length_ = std::from_chars(value.data(), value.data() + value.size(), left_).ec == std::errc();
  } else if (same(name, "transfer-encoding")) {
    chunked_ = same(value, "chunked");
  } else if (same(name, "connection")) {
    keep_alive_ = !same(value, "close");
  }
}

// A line without its CRLF in line_ once it is whole.
bool ResponseReader::take_line(std::string_view& data) {
  const auto end = data.find('\n');
  line_.append(data.substr(0, end));
  if (end == std::string_view::npos) {
    data = {};
    return false;
  }
  data.remove_prefix(end + 1);
  if (line_.empty() || line_.back() != '\r') error_ = "bare LF in the chunked framing";
  if (!line_.empty()) line_.pop_back();
  return true;
}

void ResponseReader::parse_chunk_size() {
  left_ = 0;
  const auto [end, failed] = std::from_chars(line_.data(), line_.data() + line_.size(), left_, 16);
  if (failed != std::errc() || end == line_.data()) error_ = "bad chunk size: " + line_.substr(0, 20);
  state_ = left_ == 0 ? State::kTrailer : State::kChunkData;
  line_.clear();
}

std::string_view ResponseReader::take_body(std::string_view& data, State next) noexcept {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, data.size()));
  const std::string_view body = data.substr(0, size);
  data.remove_prefix(size);
  left_ -= size;
  body_bytes_ += size;
  if (left_ == 0) state_ = next;
  return body;
}

}  // namespace tidegate::bench
