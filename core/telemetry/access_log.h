// What: one JSON line a request.
// Threads: write [any], for I/O threads: formats into a slot of a ring; never waits, never allocates. reopen,
// dropped [any].
//   A thread of this object's own writes the lines, many at a time.
// Ownership: the record and what its views point to are the caller's, during the call. The destructor writes
// what is there. Errors: the constructor throws std::system_error when the file cannot be opened. Later ones
// lose lines and are counted; a
//   loss is told in the log itself, as {"time":...,"dropped":N}.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tidegate::telemetry {

struct AccessLeg {
  std::string_view worker;   // its id
  std::string_view outcome;  // "done", "refused", "timeout", ...
  int status = 0;            // the engine's; 0: none came
};

struct AccessRecord {
  uint64_t unix_ms = 0;  // when the request was read
  std::string_view request_id, client, method, path, model;
  bool stream = false;
  int status = 0;
  std::string_view error;  // code in the error envelope; empty: none
  std::string_view route, policy;
  std::span<const AccessLeg> legs;
  uint32_t attempts = 0;
  int64_t prompt_tokens = -1, cached_tokens = -1, output_tokens = -1;  // -1: unknown, left out
  int64_t ttft_us = -1;                                                // -1: no first token
  int64_t total_us = 0, overhead_us = -1;
  uint64_t bytes_in = 0, bytes_out = 0;
};

struct AccessLogOptions {
  std::string path = "-";  // "-": standard output; "stderr": standard error
  uint32_t lines = 4096;   // of the ring; a power of two
  uint32_t line_bytes = 1024;
  uint32_t gather_ms = 20;  // how long the writer lets lines come together
};

class AccessLog {
 public:
  explicit AccessLog(const AccessLogOptions& options = {});
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  void write(const AccessRecord& record) noexcept;
  void reopen() noexcept;             // after a rotation; a path that no longer opens keeps the old file
  uint64_t dropped() const noexcept;  // full ring
  uint64_t failed() const noexcept;   // lost at write(2)
  uint64_t written() const noexcept;  // lines that reached the descriptor

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Why a log at this path could not be opened; empty: it could. Makes nothing.
std::string access_log_problem(const std::string& path);

// The line of a record, with its '\n'. size >= 512.
size_t format_access(const AccessRecord& record, char* out, size_t size) noexcept;

}  // namespace tidegate::telemetry
