// What: the two kinds of load: requests (closed or open loop) and open streams; options in, one report out.
// Threads: each runs in the calling thread until its load is over or its deadline has passed.
// Ownership: plain values.
// Errors: whatever a connection does wrong is counted in the report with the first messages, never thrown.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "histogram.h"
#include "net.h"
#include "proc_sample.h"

namespace tidegate::bench {

struct LoadOptions {
  Endpoint target;
  std::string path = "/v1/chat/completions";
  std::string model = "bench";
  std::vector<int> watched;      // processes whose CPU and memory are taken at the window's edges
  std::size_t connections = 32;  // closed loop: how many; open loop: at most; streams: how many
  std::size_t body_bytes = 1024;
  double rate = 0;      // requests per second of the open loop (0: closed), chunks per second of a stream
  double delay_ms = 0;  // how long the backend is to think; not part of the latency
  double warmup_s = 1;  // streams: the time allowed for opening them all
  double window_s = 4;
};

struct LoadReport {
  std::uint64_t requests = 0;        // whole and correct, in the window
  std::uint64_t total_requests = 0;  // and outside of it
  std::uint64_t chunks = 0;          // of streams, in the window
  std::uint64_t total_chunks = 0;
  std::uint64_t errors = 0;
  std::map<std::string, std::uint64_t> messages;  // the first kinds of error and how often
  Histogram latency_ns;  // of requests without the backend\'s delay, or of chunks since the backend sent them
  double open_s = 0;     // streams: how long until all were open
  ProcSample idle;       // before the first connection
  ProcSample begin;      // the window's edges
  ProcSample end;

  void fail(const std::string& message, std::uint64_t count = 1) {
    errors += count;
    if (messages.size() < 8 || messages.contains(message)) messages[message] += count;
  }
};

LoadReport run_posts(const LoadOptions& options);
LoadReport run_streams(const LoadOptions& options);

// A whole POST, head and body, that asks the backend for what the options say; `members` are extra JSON
// members.
std::string make_request(const LoadOptions& options, const std::string& members);

}  // namespace tidegate::bench
