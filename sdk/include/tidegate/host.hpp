// tidegate/host.hpp - what the host offers, as one small value. Cheap to copy: keep one in your class.
//
// What      Log, metrics, clock, random, control, interfaces by id; each is looked up once. What this host
//           does not offer has no effect (log, metrics, timer) or a stand-in (clock, random); post() says
//           TG_E_UNSUPPORTED.
// Threads   As host.h says for each function. now_ns, random, add, set, observe are hot.
// Ownership Valid until the instance's destructor has returned.
// Errors    Nothing throws.
#pragma once
#include <atomic>

#include "handles.hpp"

namespace tg {

class Host {
 public:
  explicit Host(const tg_host* host) noexcept : host_(host) {
    log_ = find<tg_host_log>(TG_HOST_LOG);
    metrics_ = find<tg_host_metrics>(TG_HOST_METRICS);
    clock_ = find<tg_host_clock>(TG_HOST_CLOCK);
    control_ = find<tg_host_control>(TG_HOST_CONTROL);
    request_ = find<tg_host_request>(TG_HOST_REQUEST);
  }
  const tg_host* get() const noexcept { return host_; }
  const char* component() const noexcept { return host_->component; }
  const char* instance() const noexcept { return host_->instance; }
  // An interface by id, or null. Draft and foreign interfaces come this way.
  template <class Table>
  const Table* find(const char* id) const noexcept {
    return static_cast<const Table*>(host_->get_interface(host_, id));
  }
  const tg_host_request* request() const noexcept { return request_; }

  bool logs(int32_t level) const noexcept { return log_ && log_->enabled(host_, level); }
  void log(int32_t level, std::string_view text, Fields fields = {}) const noexcept {
    if (logs(level))
      log_->write(host_, level, str(text), fields.begin(), static_cast<uint32_t>(fields.size()));
  }
  void debug(std::string_view text, Fields fields = {}) const noexcept { log(TG_LOG_DEBUG, text, fields); }
  void info(std::string_view text, Fields fields = {}) const noexcept { log(TG_LOG_INFO, text, fields); }
  void warn(std::string_view text, Fields fields = {}) const noexcept { log(TG_LOG_WARN, text, fields); }
  void error(std::string_view text, Fields fields = {}) const noexcept { log(TG_LOG_ERROR, text, fields); }

  Metric counter(std::string_view name, std::string_view help, Fields labels = {}) const noexcept {
    return metric(metrics_ ? metrics_->counter : nullptr, name, help, labels);
  }
  Metric gauge(std::string_view name, std::string_view help, Fields labels = {}) const noexcept {
    return metric(metrics_ ? metrics_->gauge : nullptr, name, help, labels);
  }
  Metric histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                   Fields labels = {}) const noexcept {
    if (!metrics_) return {};
    return {
        host_, metrics_,
        metrics_->histogram(host_, str(name), str(help), labels.begin(), static_cast<uint32_t>(labels.size()),
                            bounds.data(), static_cast<uint32_t>(bounds.size()))};
  }

  uint64_t now_ns() const noexcept {
    if (clock_) return clock_->monotonic_ns(host_);
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                 std::chrono::nanoseconds(1));
  }
  uint64_t unix_ms() const noexcept {
    if (clock_) return clock_->unix_ms(host_);
    return static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch() /
                                 std::chrono::milliseconds(1));
  }
  uint64_t random() const noexcept { return clock_ ? clock_->random(host_) : stand_in_random(); }
  // Uniform below n; n > 0. The bias of the multiplication is below n / 2^32.
  uint32_t random_below(uint32_t n) const noexcept {
    return static_cast<uint32_t>(((random() >> 32) * n) >> 32);
  }

  // Calls object->Method() on [control], unless destroy comes first: host.post<&Mine::refresh>(this). No
  // allocation.
  template <auto Method, class T>
  tg_status post(T* object) const noexcept {
    return control_ ? control_->post(host_, &call<Method, T>, object) : TG_E_UNSUPPORTED;
  }
  // The same at a time, `every` 0: once. [control]
  template <auto Method, class T>
  Timer timer(T* object, std::chrono::milliseconds first, std::chrono::milliseconds every) const noexcept {
    if (!control_) return {};
    auto ms = [](std::chrono::milliseconds t) { return static_cast<uint64_t>(t.count()); };
    return {host_, control_, control_->timer(host_, ms(first), ms(every), &call<Method, T>, object)};
  }
  void rebuild() const noexcept {
    if (control_) control_->rebuild(host_);
  }

 private:
  template <class F>
  Metric metric(F make, std::string_view name, std::string_view help, Fields labels) const noexcept {
    if (!make) return {};
    return {host_, metrics_,
            make(host_, str(name), str(help), labels.begin(), static_cast<uint32_t>(labels.size()))};
  }
  template <auto Method, class T>
  static void call(void* object) noexcept {
    (static_cast<T*>(object)->*Method)();
  }
  static uint64_t stand_in_random() noexcept {  // splitmix64 over a shared counter
    static std::atomic<uint64_t> counter{0x9e3779b97f4a7c15u};
    uint64_t z =
        counter.fetch_add(0x9e3779b97f4a7c15u, std::memory_order_relaxed);  // only uniqueness matters
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  const tg_host* host_;
  const tg_host_log* log_;
  const tg_host_metrics* metrics_;
  const tg_host_clock* clock_;
  const tg_host_control* control_;
  const tg_host_request* request_;
};

}  // namespace tg
