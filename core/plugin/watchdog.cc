#include "plugin/watchdog.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include <tidegate/host.h>

#include "plugin/containment.h"

namespace tidegate::plugin {
namespace {

// A line of /proc/self/task/ID/NAME; empty when it can't be read.
template <std::size_t size>
const char* read_line(char (&text)[size], std::int32_t id, const char* name) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/%s", id, name);
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t n = file < 0 ? 0 : ::read(file, text, size - 1);
  if (file >= 0) ::close(file);
  text[n > 0 ? n : 0] = '\0';
  return text;
}

}  // namespace

ThreadTimes thread_times(std::int32_t kernel_id) noexcept {
  char text[512];
  unsigned long long ran = 0;
  unsigned long long waited = 0;
  if (std::sscanf(read_line(text, kernel_id, "schedstat"), "%llu %llu", &ran, &waited) != 2) return {};
  // The thread's name stands in parentheses before its state, and may contain some itself.
  const char* name_end = std::strrchr(read_line(text, kernel_id, "stat"), ')');
  return {ran, waited, name_end && name_end[1] == ' ' && name_end[2] == 'R'};
}

Watchdog::Watchdog(HostEnvironment& environment, Options options)
    : environment_(environment), options_(options) {}

Watchdog::~Watchdog() { stop(); }

void Watchdog::start() {
  thread_ = std::thread([this] {
    const std::uint64_t period_ns = std::uint64_t{options_.period_ms} * 1'000'000;
    std::uint64_t last = environment_.monotonic_ns();
    std::unique_lock lock(mutex_);
    while (!stop_) {
      lock.unlock();
      const std::uint64_t now = environment_.monotonic_ns();
      inspect(now, now - last > 2 * period_ns ? now - last - period_ns : 0);
      last = now;
      lock.lock();
      wake_.wait_for(lock, std::chrono::milliseconds(options_.period_ms), [this] { return stop_; });
    }
  });
}

void Watchdog::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::inspect(std::uint64_t now_ns, std::uint64_t late_ns) {
  const std::uint64_t step_ns = looked_ns_ ? now_ns - looked_ns_ : 0;
  looked_ns_ = now_ns;
  const auto views = cells_inside();
  for (std::size_t i = 0; i < views.size(); ++i) look_at(seen_[i], views[i], now_ns, step_ns, late_ns);
}

// How long the thread has waited for a processor since some moment. The kernel adds a wait when it ends: one
// that lasts is a runnable thread whose numbers stand still.
std::uint64_t Watchdog::off_processor(Seen& seen, std::int32_t kernel_id,
                                      std::uint64_t now_ns) const noexcept {
  const ThreadTimes now = options_.times(kernel_id);
  const bool stands = now.runnable && now.ran_ns == seen.times.ran_ns &&
                      now.waited_ns == seen.times.waited_ns && now.ran_ns + now.waited_ns != 0;
  if (!stands) seen.changed_ns = now_ns;
  seen.times = now;
  return now.waited_ns + (now_ns - seen.changed_ns);
}

// A call's time starts when it is seen for the first time, so nobody reads a clock on the way in.
void Watchdog::look_at(Seen& seen, const CellView& view, std::uint64_t now_ns, std::uint64_t step_ns,
                       std::uint64_t late_ns) {
  if (view.inside == 0 && seen.inner.word == 0 && seen.outer.word == 0) return;
  const std::uint64_t off_before = seen.off_ns;
  seen.off_ns = view.inside ? off_processor(seen, view.kernel_id, now_ns) : 0;
  const std::uint64_t waited = seen.off_ns > off_before ? seen.off_ns - off_before : 0;
  const std::uint64_t spent = step_ns - std::min(step_ns, std::max(late_ns, waited));
  if (view.outermost != seen.outer.word)
    seen.excused_ns = 0;
  else if (view.inside != seen.inner.word && seen.inner.slow)
    seen.excused_ns += seen.inner.inside_ns + spent;
  follow(seen.inner, view.inside, spent);
  follow(seen.outer, view.outermost, spent);
  if (seen.inner.word) judge(seen.inner, seen.inner.inside_ns);
  const std::uint64_t others = seen.excused_ns + (seen.inner.word ? seen.inner.inside_ns : 0);
  if (seen.outer.word && seen.outer.inside_ns > others) judge(seen.outer, seen.outer.inside_ns - others);
}

void Watchdog::follow(Call& call, std::uint64_t word, std::uint64_t spent_ns) {
  call.inside_ns += spent_ns;
  if (word == call.word) return;
  if (call.stalled) {
    stalled_calls_.fetch_sub(1, std::memory_order_relaxed);
    say(TG_LOG_WARN, call.word, "a stalled plugin call has ended", call.inside_ns);
  }
  call = {.word = word};
}

void Watchdog::judge(Call& call, std::uint64_t inside_ns) {
  if (!call.slow && inside_ns > options_.slow_ns) {
    call.slow = true;
    say(TG_LOG_WARN, call.word, "a plugin call takes too long", inside_ns);
    if (const auto containment = Containment::find(inside_id(call.word))) {
      containment->count_slow_call();
      if (is_request_call(inside_function(call.word)))
        containment->enter_quarantine(Quarantine::stall, function_name(inside_function(call.word)));
    }
  }
  if (!call.stalled && inside_ns > options_.stalled_ns) {
    call.stalled = true;
    stalled_calls_.fetch_add(1, std::memory_order_relaxed);
    say(TG_LOG_ERROR, call.word, "a plugin call has stalled: this process is not live until it returns",
        inside_ns);
  }
}

void Watchdog::say(int level, std::uint64_t word, const char* text, std::uint64_t ns) {
  const auto containment = Containment::find(inside_id(word));
  const Containment::Names unknown{"unknown", "unknown", "unknown"};
  const Containment::Names& names = containment ? containment->names() : unknown;
  const std::string ms = std::to_string(ns / 1'000'000);
  const LogField fields[] = {{"plugin", names.plugin},
                             {"component", names.component},
                             {"function", function_name(inside_function(word))},
                             {"ms", ms}};
  environment_.log(level, names.instance, text, fields);
}

}  // namespace tidegate::plugin
