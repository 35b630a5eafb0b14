// What: one epoll loop: readiness (level-triggered, or by EPOLLET in an interest), timers, tasks from other
// threads. Longer than 150 lines: what a loop is can't be cut. A pass ("batch") runs
//   readiness, timers, posted tasks, on_batch_end() hooks and deferred deletions, in this order.
// Threads: everything belongs to the thread that runs the loop, but post(), stop(), heartbeat() and the
//   constructor. Before the first run everything may be called by the one thread that sets the loop up.
// Ownership: the loop owns neither descriptors nor what watches them: unwatch() before close(). What is given
//   to defer_delete() is destroyed at the end of the batch, so that no object dies under its own feet.
// Errors: the constructor throws std::system_error. watch() returns false where the kernel refuses.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include <sys/epoll.h>

#include "http/timer_wheel.h"

namespace tidegate::http {

// Something with a descriptor. Events delivered are those of its interest, EPOLLRDHUP, and EPOLLHUP and
// EPOLLERR, which epoll always reports: who gets those and doesn't unwatch() spins.
class Watched {
 public:
  virtual void on_ready(std::uint32_t epoll_events) noexcept = 0;
  int fd() const noexcept { return fd_; }  // -1 while not watched
  std::uint32_t interest() const noexcept { return interest_; }

 protected:
  Watched() = default;
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  ~Watched() = default;

 private:
  friend class EventLoop;
  int fd_ = -1;
  std::uint32_t interest_ = 0;
};

struct Deferred {
  virtual ~Deferred() = default;
};

// Called once at the end of the batch in which it was scheduled. Unlinks itself on destruction.
class BatchEnd {
 public:
  virtual void on_batch_end() noexcept = 0;
  bool scheduled() const noexcept { return link_ != nullptr; }

 protected:
  BatchEnd() = default;
  BatchEnd(const BatchEnd&) = delete;
  BatchEnd& operator=(const BatchEnd&) = delete;
  ~BatchEnd() { unschedule(); }

 private:
  friend class EventLoop;
  void unschedule() noexcept;
  BatchEnd* next_ = nullptr;
  BatchEnd** link_ = nullptr;  // what points at this one
};

class EventLoop {
 public:
  using Task = std::function<void()>;
  using Clock = std::uint64_t (*)() noexcept;
  static std::uint64_t monotonic_ns() noexcept;  // CLOCK_MONOTONIC

  // Interest flag: leave out EPOLLRDHUP, for who has seen the peer's FIN and goes on reading or writing.
  static constexpr std::uint32_t without_rdhup = 1u << 20;
  static constexpr std::size_t scratch_size = 64 * 1024;

  explicit EventLoop(Clock clock = monotonic_ns);  // another one in tests, which then poll: run_once(0)
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Descriptors must be non-blocking; EPOLLRDHUP is added. `extra` takes flags such as EPOLLEXCLUSIVE.
  bool watch(Watched& watched, int fd, std::uint32_t interest, std::uint32_t extra = 0) noexcept;
  void rewatch(Watched& watched, std::uint32_t interest) noexcept;  // a system call only on a change
  // For interests with EPOLLET, which tell of what arrives, not of what is there: has the loop look whether
  // something is. For who left bytes, or an end, unread. Level-triggered epoll asks each socket again after
  // each of its events; where nearly every event is taken whole, that is a lock and a look for nothing.
  void ask_again(Watched& watched) noexcept;
  // Readiness of this batch that waits to be delivered. Costs a look at the rest of the batch.
  bool undelivered(const Watched& watched) const noexcept;
  // Whether epoll has been asked since heartbeat() stood at `beat`, and had room to tell of everybody who was
  // ready: together with !undelivered(), who has not been called since then had nothing to say.
  bool all_told_since(std::uint64_t beat) const noexcept { return told_all_ && heartbeat() > beat + 1; }
  void unwatch(Watched& watched) noexcept;  // nothing is delivered any more, also not of this batch

  void arm(Timer& timer, std::uint64_t delay_ms) noexcept { timers_.arm(timer, now_ms() + delay_ms); }
  void arm_at(Timer& timer, std::uint64_t when_ms) noexcept { timers_.arm(timer, when_ms); }

  void at_batch_end(BatchEnd& hook) noexcept;  // no effect if already scheduled
  void defer_delete(std::unique_ptr<Deferred> object);

  void post(Task task);  // any thread
  void stop() noexcept;  // any thread; run() returns after the batch
  void run();
  void run_once(int timeout_ms);  // one batch; -1 waits for ever, 0 polls

  // Read once a batch.
  std::uint64_t now_ns() const noexcept { return now_ns_; }
  std::uint64_t now_ms() const noexcept { return now_ns_ / 1'000'000; }
  void refresh_now() noexcept;  // for who needs it exact after long work

  // A read buffer for everybody; its content lasts until control goes back to the loop or to other users.
  std::span<char> scratch() noexcept { return {scratch_.get(), scratch_size}; }

  std::thread::id thread_id() const noexcept { return thread_.load(std::memory_order_relaxed); }
  bool in_loop_thread() const noexcept { return thread_id() == std::this_thread::get_id(); }

  // Odd while the loop works, even while it sleeps in the kernel: a watchdog that reads the same odd number
  // twice sees a loop that has been busy in between.
  std::uint64_t heartbeat() const noexcept { return heartbeat_.load(std::memory_order_relaxed); }

 private:
  class Waker final : public Watched {
   public:
    void on_ready(std::uint32_t epoll_events) noexcept override;
  };
  int wait_budget(int timeout_ms) noexcept;
  void deliver(int count) noexcept;
  void run_tasks() noexcept;
  void end_batch() noexcept;

  int epoll_ = -1;
  int wake_fd_ = -1;
  Waker waker_;
  TimerWheel timers_;
  Clock clock_;
  std::uint64_t now_ns_ = 0;
  std::unique_ptr<char[]> scratch_;
  std::vector<epoll_event> events_;
  int batch_at_ = 0, batch_size_ = 0;  // events_[batch_at_, batch_size_) are still to be delivered
  bool told_all_ = false;              // this batch was not full
  BatchEnd* batch_end_ = nullptr;
  std::vector<std::unique_ptr<Deferred>> deferred_, dying_;
  std::vector<Task> running_;  // the posted tasks of this batch
  std::mutex mutex_;           // guards posted_ and awake_
  std::vector<Task> posted_;
  bool awake_ = false;  // a wake-up is under way, so that many posts cost one
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> heartbeat_{0};
  std::atomic<std::thread::id> thread_{};
};

}  // namespace tidegate::http
