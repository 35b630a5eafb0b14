#include "proc_sample.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "net.h"

namespace tidegate::bench {

ProcSample sample_processes(const std::vector<int>& pids) {
  ProcSample sample;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const int pid : pids) {
    const std::string root = "/proc/" + std::to_string(pid);
    std::error_code error;
    for (std::filesystem::directory_iterator task(root + "/task", error), end; !error && task != end;
         task.increment(error)) {
      std::uint64_t running = 0;
      if (std::ifstream(task->path() / "schedstat") >> running) sample.cpu_ns += running;
    }
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    if (std::ifstream(root + "/statm") >> size >> resident) {
      sample.rss_bytes += resident * page;
      ++sample.alive;
    }
  }
  sample.at_ns = now_ns();
  return sample;
}

}  // namespace tidegate::bench
