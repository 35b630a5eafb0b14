// What: one membership of the fleet, immutable: who is in it, as the ABI shows it (tg_snapshot), and for
// every model the
//   candidates of each role, ready to be handed to a pick.
// Threads: immutable after make(); read by all.
// Ownership: shared by views, by tables built from its snapshot, and by requests that are choosing. It keeps
// its workers, and
//   with them their slots.
// Errors: none.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fleet/worker.h"
#include "plugin/request.h"

namespace tidegate::fleet {

// Candidates of one model: by role, ascending slots and the same as bits.
struct ModelEntry {
  std::string name;
  std::array<std::vector<std::uint32_t>, TG_ROLE_COUNT> slots;
  std::array<std::vector<std::uint64_t>, TG_ROLE_COUNT> bits;
  std::array<tg_slots, TG_ROLE_COUNT> abi{};  // views of `slots`
  plugin::SlotSets sets;                      // the same, of `bits`
  std::uint32_t registered = 0;               // workers that serve it, in any state
  std::uint32_t starting = 0;                 // of them, those whose health is not known yet

  bool has(std::uint32_t role, std::uint32_t slot) const noexcept {
    const auto& words = bits[role];
    return slot / 64 < words.size() && (words[slot / 64] >> (slot % 64) & 1) != 0;
  }
  bool has_any_role(std::uint32_t slot) const noexcept {
    for (std::uint32_t role = 0; role < TG_ROLE_COUNT; ++role)
      if (has(role, slot)) return true;
    return false;
  }
};

class Membership {
 public:
  // Only workers in state READY become candidates.
  static std::shared_ptr<const Membership> make(std::uint64_t epoch, std::vector<WorkerPtr> workers,
                                                const SlotTable& slots);

  const tg_snapshot& snapshot() const noexcept { return snapshot_; }
  const std::vector<WorkerPtr>& workers() const noexcept { return workers_; }  // ascending slot
  const WorkerPtr* worker(std::uint32_t slot) const noexcept;                  // null: nobody there

  // The candidates for a model name; null when no worker serves it. An empty name: all workers.
  const ModelEntry* model(std::string_view name) const noexcept;
  std::vector<std::string_view> model_names() const;  // sorted
  bool empty() const noexcept { return workers_.empty(); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>()(s); }
  };
  struct InfoStrings {
    std::vector<tg_str> models;
    std::vector<tg_kv> labels;
  };
  void add(ModelEntry& entry, const Worker& worker) const;
  static void seal(ModelEntry& entry, std::uint32_t capacity);

  std::vector<WorkerPtr> workers_;
  std::vector<tg_worker_info> infos_;
  std::vector<InfoStrings> strings_;
  std::vector<std::uint32_t> index_;
  tg_snapshot snapshot_{};
  std::unordered_map<std::string, ModelEntry, Hash, std::equal_to<>> models_;
  ModelEntry all_;       // whatever the model
  ModelEntry wildcard_;  // workers that serve any model
};
using MembershipPtr = std::shared_ptr<const Membership>;

}  // namespace tidegate::fleet
