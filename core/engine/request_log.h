// What: the last requests an engine has received, byte for byte, for tests to look at.
// Threads: the engine's.
// Ownership: copies, bounded in number and in bytes of body.
// Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "http/head.h"

namespace tidegate::engine {

class RequestLog {
 public:
  static constexpr std::size_t kept_requests = 256;
  static constexpr std::size_t kept_body_bytes = 64 * 1024;  // of each; length and hash are of all of it

  void add(std::uint64_t number, const http::RequestHead& head, std::string_view body);
  void clear() { entries_.clear(); }
  std::string to_json() const;  // an array, oldest first

 private:
  struct Entry {
    std::uint64_t number;
    std::string method, target;
    std::string head;  // raw, up to the last header's value
    std::size_t body_bytes;
    std::uint64_t body_hash;  // XXH3, 64 bits
    std::string body;
  };
  std::deque<Entry> entries_;
};

}  // namespace tidegate::engine
