// What: the registry of workers: takes what the sources say, keeps who is registered, and makes memberships.
// Threads: the control thread.
// Ownership: shares workers with memberships and requests; a removed worker lives on until its last request
// ends. Errors: what is refused is logged by the caller from the returned text; the last good set stays.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fleet/membership.h"
#include "fleet/worker.h"

namespace tidegate::fleet {

// A worker with the way to it; without one (its name does not resolve, its key can't be read), the reason.
struct ResolvedSpec {
  WorkerSpec spec;
  std::optional<Endpoint> endpoint;
  std::string problem = {};
};

class FleetListener {
 public:
  virtual void on_worker_added(const WorkerPtr& worker) = 0;
  virtual void on_worker_removed(const WorkerPtr& worker, std::string_view reason) = 0;
  virtual void on_membership_changed() = 0;  // a new membership should be published; comes often, so coalesce

 protected:
  ~FleetListener() = default;
};

class Fleet {
 public:
  static constexpr std::uint64_t panic_hold_ms = 60'000;

  using MakeMetrics = std::function<Worker::Metrics(const WorkerSpec&)>;

  Fleet(std::shared_ptr<SlotTable> slots, FleetListener& listener, MakeMetrics metrics = {})
      : slots_(std::move(slots)), listener_(listener), metrics_(std::move(metrics)) {}

  // The whole truth of a source. A list that is empty or has lost more than half is held for panic_hold_ms,
  // unless `allow_shrink`: then tick() puts it in force, if no better one has come. Returns texts for the
  // log.
  std::string publish(const std::string& source, std::vector<ResolvedSpec> specs, bool allow_shrink,
                      std::uint64_t now_ms);
  // A changed worker is registered anew; its requests end on the old one. Without a way to it: who is
  // registered under this id serves on; reached() brings what is missing. Returns a text when something is
  // wrong.
  std::string upsert(ResolvedSpec spec, std::uint64_t now_ms);
  bool remove(const std::string& source, const std::string& id, std::string_view reason);
  // A source that is no longer configured.
  void drop_source(const std::string& source, std::string_view reason);
  // Held lists whose time has come; workers not reported again within their ttl. Call it often.
  void tick(std::uint64_t now_ms);

  // Those to whom a way is to be looked for (again): the ones without, or all whose name or key may change.
  std::vector<WorkerSpec> to_reach(bool all) const;
  // What was found. Nothing happens when the source says something else by now, or when nothing was found.
  void reached(ResolvedSpec spec);

  WorkerPtr find(std::string_view uuid) const;
  WorkerPtr find_url(std::string_view url) const;
  const std::vector<WorkerPtr> workers() const;  // all registered, by source and id
  std::size_t count(const std::string& source) const;

  // Returns true when the state was another one.
  bool set_state(const Worker& worker, std::uint32_t state);
  // A membership without those who have left is in force: nobody may pick them from an older one any more.
  // Until then they serve, so that there is no moment in which the old are gone and the new not yet there.
  void let_go() noexcept;
  MembershipPtr make_membership();
  const std::shared_ptr<SlotTable>& slots() const noexcept { return slots_; }

 private:
  struct Held {
    std::uint64_t since_ms = 0;
    std::vector<ResolvedSpec> list;  // in the source's order, by which slots are given
  };
  struct Source {  // all by id
    std::map<std::string, WorkerPtr> workers;
    std::map<std::string, WorkerSpec> unreached;   // said, and waiting for a way to them
    std::map<std::string, std::uint64_t> ends_ms;  // of those with a ttl
    std::optional<Held> held;
    std::size_t said() const;
  };
  std::string take_over(Source& source, std::vector<ResolvedSpec> list, std::uint64_t now_ms);
  std::string put(Source& source, ResolvedSpec spec);
  void retire(Source& source, std::map<std::string, WorkerPtr>::iterator at, std::string_view reason);

  std::shared_ptr<SlotTable> slots_;
  FleetListener& listener_;
  MakeMetrics metrics_;
  std::map<std::string, Source> sources_;
  std::vector<WorkerPtr> leaving_;
  std::uint64_t epoch_ = 0;
};

}  // namespace tidegate::fleet
