#include "engine/request_log.h"

#include <cstdio>
#include <sstream>

#include <Poco/Base64Encoder.h>
#include <xxhash.h>

#include "engine/text.h"

namespace tidegate::engine {

namespace {

// Field names and values point into the bytes that came, so head and last field span them from the method on.
std::string raw_head(const http::RequestHead& head) {
  if (head.fields.empty()) return std::string(head.method) + " " + std::string(head.target);
  const http::HeaderField& last = head.fields.back();
  const std::string_view end = last.value.empty() ? last.name : last.value;
  return {head.method.data(), end.data() + end.size()};
}

std::string base64(const std::string& bytes) {
  std::ostringstream out;
  Poco::Base64Encoder encoder(out);
  encoder.rdbuf()->setLineLength(0);
  encoder.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  encoder.close();
  return out.str();
}

}  // namespace

void RequestLog::add(std::uint64_t number, const http::RequestHead& head, std::string_view body) {
  if (entries_.size() >= kept_requests) entries_.pop_front();
  entries_.push_back({number, std::string(head.method), std::string(head.target), raw_head(head), body.size(),
                      XXH3_64bits(body.data(), body.size()), std::string(body.substr(0, kept_body_bytes))});
}

std::string RequestLog::to_json() const {
  std::string out = "[";
  for (const Entry& entry : entries_) {
    char hash[17];
    std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(entry.body_hash));
    if (out.size() > 1) out += ",";
    out += "{\"number\":" + std::to_string(entry.number) + ",\"method\":" + json_string(entry.method) +
           ",\"target\":" + json_string(entry.target) + ",\"head_base64\":\"" + base64(entry.head) +
           "\",\"body_bytes\":" + std::to_string(entry.body_bytes) + ",\"body_xxh3\":\"" + hash +
           "\",\"body_base64\":\"" + base64(entry.body) + "\"}";
  }
  return out + "]";
}

}  // namespace tidegate::engine
