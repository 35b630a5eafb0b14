// tidegate/testing/fake_host.hpp - a host under the test's hand: every interface of host.h but http.
//
// What      The configuration is JSON text. Time stands still until advance(); random is seeded; posted calls
// and timers
//           run when the test says so; log lines and metrics are kept; children are functions of the test.
// Threads   One, which is every thread of the contract at once.
// Ownership Must outlive the components made with it.
// Errors    tg::Error for a configuration that is not JSON or, when the schema is known, names members it
// does not know.
#pragma once
#include <functional>
#include <set>

#include "../plugin.h"
#include "fake_request.hpp"
#include "json.hpp"

namespace tg::testing {

class FakeHost {
 public:
  struct Line {
    int32_t level;
    std::string text;
    std::map<std::string, std::string> fields;
  };
  using ChildPick = std::function<tg_status(const tg_pick_args&, tg_plan&)>;
  using Score = std::function<tg_status(const tg_pick_args&, std::span<float>)>;

  explicit FakeHost(std::string_view config = "{}", uint64_t seed = 1, const char* instance = "test")
      : config_(Json::parse(config)), config_text_(config), random_state_(seed) {
    memory_.reserve(262144), lengths_.reserve(16384);  // so that remember() allocates nothing
    self_.base = {sizeof(tg_host), TG_ABI_MAJOR, TG_ABI_MINOR, "tidegate-testing", "0",
                  "test",          instance,     &interface_of};
    self_.owner = this;
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;
  const tg_host* get() const noexcept { return &self_.base; }
  tg_str config_text() const noexcept { return str(config_text_); }

  // Fills in the schema's defaults and refuses members that it does not know, as a host does. Types are not
  // checked.
  void apply_schema(const char* schema) {
    if (schema) fill(config_, Json::parse(schema), "");
    config_text_ = config_.dump();
  }

  // --- what the test sets ---
  std::map<std::string, std::string, std::less<>> secrets;
  std::map<std::string, ChildPick, std::less<>> children;  // by JSON pointer
  std::map<std::string, Score, std::less<>> scorers;       // likewise; see ScorerUnderTest::as_child()
  tg_policy_traits child_traits{sizeof(tg_policy_traits), 0, 0, 0};
  void withhold(std::string id) { withheld_.insert(std::move(id)); }  // "tg.host.clock/1": this host lacks it
  void advance(std::chrono::nanoseconds time) {  // runs the timers that become due, in order
    uint64_t until = now_ns_ + static_cast<uint64_t>(time.count());
    for (auto due = next_timer(); due != timers_.end() && due->second.at_ns <= until; due = next_timer()) {
      now_ns_ = due->second.at_ns;
      Task task = due->second.task;
      if (due->second.every_ns == 0)
        timers_.erase(due);
      else
        due->second.at_ns += due->second.every_ns;
      task.run(task.argument);
    }
    now_ns_ = until;
  }
  size_t run_posted() {  // what post() left on the control thread; returns how many ran
    size_t ran = 0;
    for (; !posted_.empty(); ++ran) {
      Task task = posted_.front();
      posted_.erase(posted_.begin());
      task.run(task.argument);
    }
    return ran;
  }

  // --- what the test sees ---
  std::vector<Line> lines;
  std::map<std::string, double> metrics;  // name{key=value,...}; of a histogram: name_sum and name_count
  bool take_rebuild() noexcept { return std::exchange(rebuild_, false); }
  uint64_t now_ns() const noexcept { return now_ns_; }
  std::vector<std::string> take_remembered() {
    std::vector<std::string> all;
    size_t at = 0;
    for (uint32_t length : lengths_) all.emplace_back(memory_.substr(at, length)), at += length;
    memory_.clear(), lengths_.clear();
    return all;
  }

 private:
  friend struct HostTables;
  struct Task {
    void (*run)(void*);
    void* argument;
  };
  struct TimerEntry {
    uint64_t at_ns, every_ns;
    Task task;
  };
  struct Self {
    tg_host base;  // first: the handle is its address
    FakeHost* owner;
  };
  static const void* interface_of(const tg_host*, const char* id) noexcept;  // fake_host_tables.hpp

  std::map<uint64_t, TimerEntry>::iterator next_timer() {
    return std::min_element(timers_.begin(), timers_.end(),
                            [](auto& a, auto& b) { return a.second.at_ns < b.second.at_ns; });
  }
  void fill(Json& value, const Json& schema, const std::string& where) {
    const Json* known = schema.at("/properties");
    if (value.kind != Json::Kind::object || !known) return;
    const Json* more = schema.at("/additionalProperties");
    for (auto& [name, member] : value.members)
      if (!known->members.count(name) && more && more->kind == Json::Kind::boolean && !more->truth)
        throw Error(TG_E_CONFIG, where + "/" + name, "the schema has no member '" + name + "'");
    for (auto& [name, property] : known->members) {
      const Json* otherwise = property.at("/default");
      if (otherwise && !value.members.count(name)) value.members[name] = *otherwise;
      if (value.members.count(name)) fill(value.members[name], property, where + "/" + name);
    }
  }

  Json config_;
  std::string config_text_;
  uint64_t random_state_, now_ns_ = 1'000'000'000, next_timer_id_ = 1;
  Self self_;
  std::set<std::string, std::less<>> withheld_;
  std::map<uint64_t, TimerEntry> timers_;
  std::vector<Task> posted_;
  std::vector<double*> metric_cells_;
  std::string memory_;  // what picks remembered, one after the other
  std::vector<uint32_t> lengths_;
  bool rebuild_ = false;
};

}  // namespace tg::testing

#include "fake_host_tables.hpp"
