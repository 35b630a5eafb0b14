// What: misbehaviour on purpose: what may go wrong, how it is asked for (flags, JSON), and what the n-th
//   request gets.
// Threads: none; belongs to one engine.
// Ownership: values.
// Errors: set() and set_json() say what they did not understand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tidegate::engine {

// What happens to one request.
enum class Fault : std::uint8_t {
  none,
  reset_before_head,  // RST without a byte
  garbage,            // bytes that are not HTTP, then FIN
  hang,               // nothing ever
  hang_body,          // a head, then nothing ever
  status,             // an error status
  stall,              // after `after` tokens nothing more
  reset,              // after `after` tokens RST
  close,              // after `after` tokens FIN in the middle of a chunk
};

// Rates are shares of requests, 0 to 1; they are tried in this order and the first that hits is taken.
struct Faults {
  bool refuse = false;              // the listener is closed
  std::uint32_t refuse_for_ms = 0;  // and opened again after this time; 0: by the next change
  double reset_before_head = 0, garbage = 0, hang = 0, hang_body = 0;
  double status_rate = 0, stall = 0, reset = 0, close = 0;
  std::uint32_t after = 3;  // tokens
  int status = 500;
  std::int32_t retry_after = -1;  // seconds; below 0 no Retry-After
  double slow = 1;                // every step takes this many times longer
  bool all = false;               // also requests that generate nothing (health, lists); never /debug
  std::int64_t times = -1;        // how many requests may still get a fault; below 0 no limit

  // One member by name. Empty: done. Else what is wrong.
  std::string set(std::string_view name, std::string_view value);
  std::string set_json(std::string_view json);  // an object of such members; nothing is set if one is wrong
  std::string to_json() const;
};

// The same seed and number give the same fate.
Fault choose_fault(Faults& faults, std::uint64_t seed, std::uint64_t request_number);

}  // namespace tidegate::engine
