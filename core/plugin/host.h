// What: the tg_host of one component instance and the services behind it: tg.host.log, metrics,
//   config, clock, control, and for policies tg.host.policy and tg.host.request (all "/1").
//   tg.host.http/1 is in host_http.h.
// Threads: made and destroyed on [control]; services as tidegate/host.h says.
// Ownership: outlives the instance's destroy(). Cancels its timers and pending posts when it goes.
// Errors: services answer with tg_status or the default given, and never throw.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tidegate/host.h>

#include "plugin/environment.h"
#include "plugin/host_config.h"
#include "plugin/learn_queue.h"

namespace tidegate::plugin {

class Containment;

// What tg.host.policy/1 asks for; implemented by the policy node that owns the host.
class ChildPolicies {
 public:
  virtual tg_status create_child(std::string_view path, tg_child**, tg_policy_traits*, tg_error*) = 0;
  virtual tg_status create_scorer(std::string_view path, tg_scorer_child**, tg_error*) = 0;

 protected:
  ~ChildPolicies() = default;
};

class InstanceHost {
 public:
  struct Parts {
    std::string component, instance, config_json;
    ChildPolicies* children = nullptr;  // policies only
    LearnQueue* learn = nullptr;        // policies only
    std::shared_ptr<Containment> containment =
        nullptr;  // the instance's; null: one for posted and timed functions
  };
  InstanceHost(HostEnvironment&, Parts);
  ~InstanceHost();
  InstanceHost(const InstanceHost&) = delete;
  InstanceHost& operator=(const InstanceHost&) = delete;

  const tg_host* abi() const noexcept { return &abi_; }
  static InstanceHost& of(const tg_host* host) noexcept { return *static_cast<const Abi*>(host)->self; }

  const std::string& component() const noexcept { return component_; }
  const std::string& instance() const noexcept { return instance_; }
  HostEnvironment& environment() const noexcept { return environment_; }
  ChildPolicies* children() const noexcept { return children_; }
  LearnQueue* learn() const noexcept { return learn_; }

  // The configuration can be read until this is called; null afterwards.
  ConfigReader* config() noexcept { return config_.get(); }
  void end_create() noexcept;
  // Members that create() could have read through tg.host.config/1 and did not; empty when it did not use it.
  const std::vector<std::string>& unread_keys() const noexcept { return unread_; }

  std::uint64_t define_metric(MetricKind, tg_str name, tg_str help, const tg_kv* labels, std::uint32_t count,
                              const double* bounds, std::uint32_t bound_count);
  bool post(void (*fn)(void*), void* argument) noexcept;
  std::uint64_t start_timer(std::uint64_t first_ms, std::uint64_t every_ms, void (*fn)(void*),
                            void* argument);
  void cancel_timer(std::uint64_t timer) noexcept;

 private:
  struct Abi : tg_host {
    InstanceHost* self;
  };
  struct Timer {
    InstanceHost* host;
    void (*fn)(void*);
    void* argument;
    std::uint64_t id;
    bool once;
  };
  struct Life;
  static std::shared_ptr<Life> make_life();
  static void run_posted(void*) noexcept;
  static void run_timer(void*) noexcept;
  std::shared_ptr<Containment> containment_;
  HostEnvironment& environment_;
  const std::string component_, instance_;
  ChildPolicies* const children_;
  LearnQueue* const learn_;
  std::unique_ptr<ConfigReader> config_;
  std::vector<std::string> unread_;
  std::vector<std::uint64_t> metrics_;  // this instance's series, to be given back
  std::shared_ptr<Life> life_;
  std::vector<std::unique_ptr<Timer>> timers_;
  Abi abi_{};
};

// Each service's table lives in its own file.
extern const tg_host_log log_service;
extern const tg_host_metrics metrics_service;
extern const tg_host_config config_service;
extern const tg_host_clock clock_service;
extern const tg_host_control control_service;
extern const tg_host_policy policy_service;
extern const tg_host_request request_service;

inline std::string_view view(tg_str s) noexcept {
  return s.len ? std::string_view(s.ptr, s.len) : std::string_view();
}
inline tg_str to_str(std::string_view s) noexcept { return tg_str{s.data(), s.size()}; }
// Fills a caller's error (may be null); cuts text that is too long.
tg_status set_error(tg_error*, tg_status, std::string_view where, std::string_view text) noexcept;
// What a plugin wrote, cut at the field's end should it have forgotten the NUL.
std::string error_text(const tg_error&);
std::string error_where(const tg_error&);

}  // namespace tidegate::plugin
