#include "telemetry/line_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

namespace tidegate::telemetry {
namespace {

constexpr uint32_t lines_a_write = 64;

// Everything to a descriptor that may be a non-blocking pipe. False: lost; the rest of a cut line is lost
// with it.
bool write_all(int fd, iovec* parts, size_t count) noexcept {
  while (count > 0) {
    const ssize_t done = ::writev(fd, parts, static_cast<int>(count));
    if (done < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return false;
      pollfd ready{fd, POLLOUT, 0};
      if (::poll(&ready, 1, 1000) <= 0) return false;  // a reader asleep for a second loses lines
      continue;
    }
    auto left = static_cast<size_t>(done);
    while (count > 0 && left >= parts->iov_len) {
      left -= parts->iov_len;
      ++parts;
      --count;
    }
    if (count > 0) {
      parts->iov_base = static_cast<char*>(parts->iov_base) + left;
      parts->iov_len -= left;
    }
  }
  return true;
}

}  // namespace

LineWriter::LineWriter(const Options& options) : options_(options), ring_(options.lines, options.line_bytes) {
  if (options_.path.empty()) {
    fd_ = options_.fd;
  } else if (!open_file()) {
    throw std::system_error(errno, std::generic_category(),
                            "cannot open '" + options_.path + "' for appending");
  }
  // Signals are for the threads that wait for them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LineWriter::~LineWriter() {
  stop_.store(true, std::memory_order_release);
  ring_.stop_waiting();
  thread_.join();
  if (!options_.path.empty()) ::close(fd_);
}

bool LineWriter::open_file() noexcept {
  const int fd = ::open(options_.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return false;
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  return true;
}

void LineWriter::reopen() noexcept {
  reopen_.store(true, std::memory_order_release);
  ring_.stop_waiting();
}

void LineWriter::run() noexcept {
  for (;;) {
    const bool stopping = stop_.load(std::memory_order_acquire);
    if (reopen_.exchange(false, std::memory_order_acq_rel) && !options_.path.empty()) (void)open_file();
    const bool wrote = drain();
    if (stopping) break;
    if (!wrote) {
      ring_.wait();
      continue;
    }
    // Let lines come together: a producer wakes this thread only out of wait(), so under load nobody pays for
    // it.
    if (options_.gather_ms > 0 && !stop_.load(std::memory_order_acquire)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(options_.gather_ms));
    }
  }
}

bool LineWriter::drain() noexcept {
  bool any = false;
  for (;;) {
    iovec parts[lines_a_write];
    uint32_t count = 0;
    while (count < lines_a_write) {
      const LineRing::Slot* slot = ring_.peek(count);
      if (slot == nullptr) break;
      parts[count++] = {slot->text, slot->length};
    }
    if (count > 0) {
      any = true;
      const bool fine = write_all(fd_, parts, count);
      (fine ? written_ : failed_).fetch_add(count, std::memory_order_relaxed);
      ring_.release(count);
    }
    tell_lost();
    if (count < lines_a_write) return any;
  }
}

void LineWriter::tell_lost() noexcept {
  const uint64_t dropped = ring_.dropped();
  if (dropped == told_ || options_.tell_lost == nullptr) return;
  char line[256];
  iovec part{line, options_.tell_lost(line, sizeof line, dropped - told_)};
  if (write_all(fd_, &part, 1)) told_ = dropped;
}

}  // namespace tidegate::telemetry
