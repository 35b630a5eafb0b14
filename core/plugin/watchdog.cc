#include "plugin/watchdog.h"

#include <chrono>
#include <cstddef>
#include <string>

#include <tidegate/host.h>

#include "plugin/containment.h"

namespace tidegate::plugin {

Watchdog::Watchdog(HostEnvironment& environment, Options options)
    : environment_(environment), options_(options) {}

Watchdog::~Watchdog() { stop(); }

void Watchdog::start() {
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      lock.unlock();
      inspect(environment_.monotonic_ns());
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

void Watchdog::inspect(std::uint64_t now_ns) {
  const auto words = cells_inside();
  for (std::size_t i = 0; i < words.size(); ++i) look_at(seen_[i], words[i], now_ns);
}

// A call's time starts when it is seen for the first time, so nobody reads a clock on the way in.
void Watchdog::look_at(Seen& seen, std::uint64_t word, std::uint64_t now_ns) {
  if (word != seen.word) {
    if (seen.stalled) {
      stalled_calls_.fetch_sub(1, std::memory_order_relaxed);
      say(TG_LOG_WARN, seen.word, "a stalled plugin call has ended", now_ns - seen.since_ns);
    }
    seen = {.word = word, .since_ns = now_ns};
    return;
  }
  if (word == 0) return;
  const std::uint64_t inside = now_ns - seen.since_ns;
  if (!seen.slow && inside > options_.slow_ns) {
    seen.slow = true;
    say(TG_LOG_WARN, word, "a plugin call takes too long", inside);
    if (is_request_call(inside_function(word)))
      if (const auto containment = Containment::find(inside_id(word)))
        containment->enter_quarantine(Quarantine::stall, function_name(inside_function(word)));
  }
  if (!seen.stalled && inside > options_.stalled_ns) {
    seen.stalled = true;
    stalled_calls_.fetch_add(1, std::memory_order_relaxed);
    say(TG_LOG_ERROR, word, "a plugin call has stalled: this process is not live until it returns", inside);
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
