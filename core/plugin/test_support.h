// What: what this folder's tests share: a fake environment, a directory for plugins, a toy fleet,
//   components whose functions are the test's own.
// Longer than 150 lines: one set-up that all of a folder's tests share.
// Threads: the environment may be used by any; its control thread is the one that made it.
// Ownership: values.
// Errors: none.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "plugin/policy_node.h"
#include "plugin/registry.h"

namespace tidegate::plugin::testing {

struct LogLine {
  int level;
  std::string instance, text;
  std::map<std::string, std::string> fields;
};

class FakeMetrics final : public MetricSink {
 public:
  std::uint64_t define(const MetricDefinition& d) override { return defined.push_back(d), defined.size(); }
  void add(std::uint64_t id, double v) noexcept override { values[id] += v; }
  void set(std::uint64_t id, double v) noexcept override { values[id] = v; }
  void observe(std::uint64_t id, double v) noexcept override { values[id] = v; }
  std::vector<MetricDefinition> defined;
  std::map<std::uint64_t, double> values;
};

class FakeEnvironment final : public HostEnvironment {
 public:
  bool log_enabled(int level) const noexcept override { return level >= TG_LOG_INFO; }
  void log(int level, std::string_view instance, std::string_view text,
           std::span<const LogField> fields) noexcept override {
    const std::scoped_lock lock(mutex);
    LogLine line{level, std::string(instance), std::string(text), {}};
    for (const LogField& f : fields) line.fields.emplace(f.key, f.value);
    logs.push_back(std::move(line));
  }
  MetricSink& metrics() noexcept override { return fake_metrics; }
  bool post(Task task, void* argument) noexcept override {
    const std::scoped_lock lock(mutex);
    posted.emplace_back(task, argument);
    return true;
  }
  std::uint64_t start_timer(std::uint64_t, std::uint64_t, Task task, void* argument) override {
    return timers.emplace(++last_timer, std::pair(task, argument)), last_timer;
  }
  void cancel_timer(std::uint64_t timer) noexcept override { timers.erase(timer); }
  bool on_control_thread() const noexcept override { return std::this_thread::get_id() == control; }
  void request_rebuild() noexcept override { ++rebuilds; }
  std::optional<std::string> secret(std::string_view name) override {
    return name == "token" ? std::optional<std::string>("s3cret") : std::nullopt;
  }
  std::uint64_t monotonic_ns() noexcept override {
    return fake_time ? now_ns.load() : HostEnvironment::monotonic_ns();
  }
  std::uint64_t call_budget_ns() const noexcept override { return call_budget; }

  std::size_t run_posted() {
    std::size_t count = 0;
    for (;; ++count) {
      std::unique_lock lock(mutex);
      if (posted.empty()) return count;
      const auto [task, argument] = posted.front();
      posted.pop_front();
      lock.unlock();
      task(argument);
    }
  }
  std::size_t count_logs(std::string_view text) {
    const std::scoped_lock lock(mutex);
    std::size_t n = 0;
    for (const LogLine& line : logs) n += line.text == text;
    return n;
  }
  LogLine log_of(std::string_view text) {
    const std::scoped_lock lock(mutex);
    for (const LogLine& line : logs)
      if (line.text == text) return line;
    return {};
  }

  FakeMetrics fake_metrics;
  std::mutex mutex;
  std::vector<LogLine> logs;
  std::deque<std::pair<Task, void*>> posted;
  std::map<std::uint64_t, std::pair<Task, void*>> timers;
  std::uint64_t last_timer = 0;
  std::atomic<int> rebuilds{0};
  std::atomic<std::uint64_t> now_ns{1'000'000'000};
  bool fake_time = true;
  std::uint64_t call_budget = 1'000'000;
  const std::thread::id control = std::this_thread::get_id();
};

// A directory that only we can write, gone with its owner.
class PluginDir {
 public:
  PluginDir() {
    char name[] = "/tmp/tidegate-plugins-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~PluginDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string at(const std::string& name) const { return path_ + "/" + name + ".so"; }
  // Puts a built plugin there as `install` does: a new file, renamed over the old one.
  std::string install(const std::string& built, const std::string& as = "") const {
    std::string to = at(as.empty() ? built : as);
    const std::string part = to + ".part";
    std::filesystem::copy_file(std::string(TEST_PLUGIN_DIR) + "/" + built + ".so", part);
    std::filesystem::permissions(part, std::filesystem::perms(0644));
    std::filesystem::rename(part, to);
    return to;
  }

 private:
  std::string path_;
};

// Eight workers: slots 0-3 ANY, 4-5 PREFILL, 6-7 DECODE.
class ToyFleet {
 public:
  ToyFleet() {
    for (std::uint32_t i = 0; i < 8; ++i) {
      infos_[i].size = sizeof(tg_worker_info);
      infos_[i].slot = i;
      infos_[i].generation = 10 + i;
      index_[i] = i;
      all_[i] = i;
    }
    snapshot_.size = sizeof snapshot_;
    snapshot_.count = snapshot_.slot_capacity = 8;
    snapshot_.info = infos_;
    snapshot_.info_stride = sizeof(tg_worker_info);
    snapshot_.index = index_;
    snapshot_.live = live_;
    snapshot_.live_stride = sizeof(tg_worker_live);
    by_role_[TG_ROLE_ANY] = {all_, 4, 0};
    by_role_[TG_ROLE_PREFILL] = {all_ + 4, 2, 0};
    by_role_[TG_ROLE_DECODE] = {all_ + 6, 2, 0};
    sets_.words[TG_ROLE_ANY] = &bits_[0];
    sets_.words[TG_ROLE_PREFILL] = &bits_[1];
    sets_.words[TG_ROLE_DECODE] = &bits_[2];
    sets_.word_count = 1;
  }
  tg_pick_args args(const tg_request& request) const {
    tg_pick_args a{};
    a.size = sizeof a;
    a.prior_slot = TG_NONE;
    a.snapshot = &snapshot_;
    a.candidates = all_;
    a.candidate_count = 4;
    a.by_role = by_role_;
    a.request_id = 7;
    a.request = &request;
    return a;
  }
  const SlotSets& sets() const { return sets_; }
  std::shared_ptr<const tg_snapshot> snapshot() const { return std::make_shared<tg_snapshot>(snapshot_); }

 private:
  tg_worker_info infos_[8] = {};
  tg_worker_live live_[8] = {};
  std::uint32_t index_[8], all_[8];
  std::uint64_t bits_[3] = {0x0f, 0x30, 0xc0};
  tg_snapshot snapshot_{};
  tg_slots by_role_[TG_ROLE_COUNT] = {};
  SlotSets sets_;
};

struct PlanBuffer {
  tg_leg legs[TG_MAX_LEGS] = {};
  tg_plan plan{};
  PlanBuffer() {
    plan.size = sizeof plan;
    plan.legs = legs;
    plan.leg_stride = sizeof(tg_leg);
  }
};

}  // namespace tidegate::plugin::testing
