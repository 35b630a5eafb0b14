#include "http/event_loop.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace tidegate::http {

namespace {

constexpr int events_a_batch = 256;

// The bits that epoll gets to see for an interest.
std::uint32_t epoll_bits(std::uint32_t interest) noexcept {
  if ((interest & EventLoop::without_rdhup) != 0) return interest & ~EventLoop::without_rdhup;
  return interest | EPOLLRDHUP;
}

}  // namespace

void BatchEnd::unschedule() noexcept {
  if (link_ == nullptr) return;
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  next_ = nullptr;
  link_ = nullptr;
}

std::uint64_t EventLoop::monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

EventLoop::EventLoop(Clock clock)
    : clock_(clock), now_ns_(clock_()), scratch_(new char[scratch_size]), events_(events_a_batch) {
  timers_.advance(now_ms());
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "event loop: epoll_create1");
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0 || !watch(waker_, wake_fd_, EPOLLIN)) {
    const int error = errno;
    if (wake_fd_ >= 0) ::close(wake_fd_);
    ::close(epoll_);
    throw std::system_error(error, std::generic_category(), "event loop: eventfd");
  }
}

EventLoop::~EventLoop() {
  running_.clear();
  posted_.clear();  // tasks may own what defers its deletion
  while (batch_end_ != nullptr) batch_end_->unschedule();
  while (!deferred_.empty()) {
    std::swap(deferred_, dying_);
    dying_.clear();
  }
  ::close(wake_fd_);
  ::close(epoll_);
}

bool EventLoop::watch(Watched& watched, int fd, std::uint32_t interest, std::uint32_t extra) noexcept {
  epoll_event event{};
  // EPOLLEXCLUSIVE can't be combined with EPOLLRDHUP.
  event.events = ((extra & EPOLLEXCLUSIVE) != 0 ? interest : epoll_bits(interest)) | extra;
  event.data.ptr = &watched;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) return false;
  watched.fd_ = fd;
  watched.interest_ = interest;
  return true;
}

void EventLoop::rewatch(Watched& watched, std::uint32_t interest) noexcept {
  if (watched.fd_ < 0 || watched.interest_ == interest) return;
  epoll_event event{};
  event.events = epoll_bits(interest);
  event.data.ptr = &watched;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, watched.fd_, &event);
  watched.interest_ = interest;
}

void EventLoop::ask_again(Watched& watched) noexcept {
  if (watched.fd_ < 0) return;
  epoll_event event{};
  event.events = epoll_bits(watched.interest_);
  event.data.ptr = &watched;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, watched.fd_, &event);
}

void EventLoop::unwatch(Watched& watched) noexcept {
  if (watched.fd_ < 0) return;
  // Not left to close(): a child between fork and exec keeps the description, and epoll its registration.
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, watched.fd_, nullptr);
  watched.fd_ = -1;
  watched.interest_ = 0;
  for (int i = batch_at_; i < batch_size_; ++i) {
    epoll_event& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == &watched) event.data.ptr = nullptr;
  }
}

bool EventLoop::undelivered(const Watched& watched) const noexcept {
  for (int i = batch_at_; i < batch_size_; ++i) {
    if (events_[static_cast<std::size_t>(i)].data.ptr == &watched) return true;
  }
  return false;
}

void EventLoop::at_batch_end(BatchEnd& hook) noexcept {
  if (hook.link_ != nullptr) return;
  hook.next_ = batch_end_;
  if (batch_end_ != nullptr) batch_end_->link_ = &hook.next_;
  hook.link_ = &batch_end_;
  batch_end_ = &hook;
}

void EventLoop::defer_delete(std::unique_ptr<Deferred> object) {
  if (object) deferred_.push_back(std::move(object));
}

void EventLoop::post(Task task) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
    wake = !std::exchange(awake_, true);
  }
  if (!wake) return;
  const std::uint64_t one = 1;
  // Can't fail but for a full counter, which is a pending wake-up as well.
  [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof one);
}

void EventLoop::stop() noexcept {
  // Release: what the caller did before is seen by who runs after run() has returned.
  stop_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof one);
}

void EventLoop::run() {
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  while (!stop_.load(std::memory_order_acquire)) run_once(-1);
  stop_.store(false, std::memory_order_relaxed);
}

void EventLoop::refresh_now() noexcept { now_ns_ = clock_(); }

// How long to sleep: not at all if something is left to be done, else until the first timer.
int EventLoop::wait_budget(int timeout_ms) noexcept {
  if (batch_end_ != nullptr || !deferred_.empty()) return 0;
  const std::uint64_t expiry = timers_.next_expiry();
  if (expiry == TimerWheel::never || timeout_ms == 0) return timeout_ms;
  const std::uint64_t now = clock_() / 1'000'000;
  const std::uint64_t until = expiry > now ? expiry - now : 0;
  const auto most = timeout_ms < 0 ? std::uint64_t{60'000} : static_cast<std::uint64_t>(timeout_ms);
  return static_cast<int>(std::min(until, most));
}

void EventLoop::run_once(int timeout_ms) {
  if (thread_id() == std::thread::id()) thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  const int budget = wait_budget(timeout_ms);
  const int count = ::epoll_wait(epoll_, events_.data(), events_a_batch, budget);
  heartbeat_.fetch_add(1, std::memory_order_relaxed);  // odd: at work
  refresh_now();
  told_all_ = count < events_a_batch;
  deliver(std::max(count, 0));
  timers_.advance(now_ms());
  run_tasks();
  end_batch();
  heartbeat_.fetch_add(1, std::memory_order_relaxed);
}

void EventLoop::deliver(int count) noexcept {
  batch_size_ = count;
  for (batch_at_ = 0; batch_at_ < batch_size_;) {
    const epoll_event event = events_[static_cast<std::size_t>(batch_at_++)];
    auto* watched = static_cast<Watched*>(event.data.ptr);
    if (watched == nullptr) continue;
    // Interest may have been dropped earlier in this batch.
    const std::uint32_t wanted = epoll_bits(watched->interest_) | EPOLLERR | EPOLLHUP;
    if ((event.events & wanted) != 0) watched->on_ready(event.events & wanted);
  }
  batch_at_ = batch_size_ = 0;
}

void EventLoop::Waker::on_ready(std::uint32_t) noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd(), &count, sizeof count);
}

// The counter was read before awake_ is cleared: a post in between finds awake_ set, and its task is taken
// by the swap below.
void EventLoop::run_tasks() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (posted_.empty()) return;
    std::swap(posted_, running_);
    awake_ = false;
  }
  for (Task& task : running_) {
    task();
    task = nullptr;
  }
  running_.clear();
}

void EventLoop::end_batch() noexcept {
  while (batch_end_ != nullptr) {
    BatchEnd* hook = batch_end_;
    hook->unschedule();
    hook->on_batch_end();
  }
  while (!deferred_.empty()) {
    std::swap(deferred_, dying_);
    dying_.clear();
  }
}

}  // namespace tidegate::http
