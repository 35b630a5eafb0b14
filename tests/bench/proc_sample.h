// What: CPU time and resident memory of other processes, summed over their threads.
// Threads: any.
// Ownership: none.
// Errors: a process that is gone counts as nothing; `alive` tells how many were there.
#pragma once

#include <cstdint>
#include <vector>

namespace tidegate::bench {

struct ProcSample {
  std::uint64_t at_ns = 0;
  std::uint64_t cpu_ns = 0;     // first field of /proc/PID/task/*/schedstat: exact, not sampled by the tick
  std::uint64_t rss_bytes = 0;  // /proc/PID/statm
  std::size_t alive = 0;
};

ProcSample sample_processes(const std::vector<int>& pids);

}  // namespace tidegate::bench
