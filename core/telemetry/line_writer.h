// What: the thread that writes a ring's lines to a descriptor, many at a time, and tells of lost ones.
// Threads: ring() [any]; reopen, written, failed [any]. The thread blocks as long as the descriptor does; the
// ring then fills. Ownership: opens and closes a file that it was given by path; a descriptor given stays the
// caller's. The destructor writes
//   what is in the ring.
// Errors: std::system_error from the constructor when the path cannot be opened for appending. Later ones are
// counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "telemetry/line_ring.h"

namespace tidegate::telemetry {

class LineWriter {
 public:
  struct Options {
    std::string path = {};  // empty: fd
    int fd = -1;
    uint32_t lines = 1024, line_bytes = 1024;
    uint32_t gather_ms = 20;
    // Formats the line that tells of `lost` ones, into size >= 256 bytes; gives its length.
    size_t (*tell_lost)(char* out, size_t size, uint64_t lost) noexcept = nullptr;
  };

  explicit LineWriter(const Options& options);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  LineRing& ring() noexcept { return ring_; }
  void reopen() noexcept;
  uint64_t failed() const noexcept { return failed_.load(std::memory_order_relaxed); }
  uint64_t written() const noexcept { return written_.load(std::memory_order_relaxed); }

 private:
  void run() noexcept;
  bool drain() noexcept;  // false: there was nothing
  void tell_lost() noexcept;
  bool open_file() noexcept;

  const Options options_;
  LineRing ring_;
  int fd_ = -1;
  uint64_t told_ = 0;
  std::atomic<uint64_t> failed_{0}, written_{0};
  std::atomic<bool> stop_{false}, reopen_{false};
  std::thread thread_;
};

}  // namespace tidegate::telemetry
