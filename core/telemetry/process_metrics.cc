#include <dirent.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "telemetry/metrics.h"

namespace tidegate::telemetry {
namespace {

double cpu_seconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

// Pages of /proc/self/statm: 0 the whole, 1 resident.
double memory_bytes(int field) {
  std::ifstream statm("/proc/self/statm");
  double pages = 0;
  for (int i = 0; i <= field; ++i) statm >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double open_fds() {
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  double count = -3;  // ".", ".." and the directory's own
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

double max_fds() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

// Field 22 of /proc/self/stat, in ticks after boot; the name in field 2 may hold blanks and brackets.
double start_time() {
  std::ifstream stat("/proc/self/stat");
  std::string text;
  std::getline(stat, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  size_t at = name_end + 1;
  for (int field = 3; field <= 22 && at != std::string::npos; ++field) at = text.find(' ', at + (field > 3));
  if (at == std::string::npos) return 0;
  const double ticks = std::strtod(text.c_str() + at, nullptr);
  timespec real{}, boot{};
  clock_gettime(CLOCK_REALTIME, &real);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  const double booted = static_cast<double>(real.tv_sec - boot.tv_sec) +
                        static_cast<double>(real.tv_nsec - boot.tv_nsec) * 1e-9;
  return booted + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

void add_process_metrics(MetricsRegistry& registry) {
  const auto add = [&](const char* name, const char* help, Kind kind, std::function<double()> read) {
    Family& family = registry.family({.name = name, .help = help, .kind = kind});
    registry.watch(family, [read = std::move(read)](const MetricsRegistry::Emit& emit) { emit({}, read()); });
  };
  add("process_cpu_seconds_total", "User and system CPU time", Kind::counter, cpu_seconds);
  add("process_virtual_memory_bytes", "Virtual memory", Kind::gauge, [] { return memory_bytes(0); });
  add("process_resident_memory_bytes", "Resident memory", Kind::gauge, [] { return memory_bytes(1); });
  add("process_open_fds", "Open file descriptors", Kind::gauge, open_fds);
  add("process_max_fds", "Limit of file descriptors", Kind::gauge, max_fds);
  // Read once: the real-time clock may be set while the process runs.
  add("process_start_time_seconds", "Unix time of the start", Kind::gauge,
      [at = start_time()] { return at; });
}

}  // namespace tidegate::telemetry
