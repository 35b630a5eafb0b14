// What: tg_request, the host's side of one request as plugins see it: header look-up, arena, the
//   tables in force during a pick, and tickets: which child policies chose which leg.
// Threads: those of the request: one at a time.
// Ownership: owns its arena (blocks come from a pool of the thread; none until the first
//   allocation). Borrows the header source for its life, and tables and slot sets for a pick.
// Errors: allocate() gives null over 64 KiB; nothing throws; nothing is taken from the heap once
//   the pool is warm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <tidegate/policy.h>

namespace tidegate::plugin {

class PolicyNode;
class TableSet;

class HeaderSource {
 public:
  virtual std::string_view header(
      std::string_view name) const noexcept = 0;  // the first of that name; empty: none

 protected:
  ~HeaderSource() = default;
};

// Which slots a plan may name: one bitset of slots for each TG_ROLE_*; null: empty.
struct SlotSets {
  const std::uint64_t* words[TG_ROLE_COUNT] = {};
  std::uint32_t word_count = 0;
  bool contains(std::uint32_t slot) const noexcept {
    const std::uint32_t at = slot >> 6;
    if (at >= word_count) return false;
    std::uint64_t all = 0;
    for (const std::uint64_t* set : words) all |= set ? set[at] : 0;
    return (all >> (slot & 63)) & 1;
  }
  bool contains(std::uint32_t slot, std::uint32_t role) const noexcept {
    const std::uint32_t at = slot >> 6;
    return at < word_count && words[role] && (words[role][at] >> (slot & 63)) & 1;
  }
};

// One leg that a child policy chose. `below` is the ticket that its own child gave it, or 0.
struct Ticket {
  PolicyNode* node = nullptr;
  std::uint64_t cookie = 0, below = 0;
  std::uint32_t slot = 0, generation = 0, leg = 0, stage = 0;
  std::uint32_t plan = 0, plan_legs = 0;  // which of the plans handed to parents, and how long it is
  bool transform = false;                 // it is that plan's relayed leg, and its policy transforms
  bool open = false;                      // its one complete() is still owed
  bool claimed = false;                   // in a parent's plan, so no other may have it
  bool taken = false;                     // reached from the final plan
};

class Arena {
 public:
  Arena() = default;
  ~Arena() { reset(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* allocate(std::size_t len, std::size_t align) noexcept;  // zeroed; null: no memory or a bad alignment
  void reset() noexcept;                                        // gives all blocks back

 private:
  struct Block;
  Block* top_ = nullptr;
  std::size_t used_ = 0;  // of the top block
};

constexpr std::size_t arena_limit = 64 * 1024;  // of what plugins allocate for one request

}  // namespace tidegate::plugin

struct tg_request final {
 public:
  explicit tg_request(const tidegate::plugin::HeaderSource* headers = nullptr) noexcept : headers_(headers) {}
  tg_request(const tg_request&) = delete;
  tg_request& operator=(const tg_request&) = delete;

  std::string_view header(std::string_view name) const noexcept {
    return headers_ ? headers_->header(name) : std::string_view();
  }
  void* allocate(std::size_t len, std::size_t align) noexcept;
  // Whether the body is a JSON object, so that plans can edit it; true unless told otherwise.
  void set_body_editable(bool yes) noexcept { body_editable_ = yes; }
  bool body_editable() const noexcept { return body_editable_; }
  std::uint32_t open_legs() const noexcept { return open_legs_; }  // legs of selected plans not completed yet

 private:
  friend class tidegate::plugin::PolicyNode;
  static constexpr std::uint32_t chunk_size = 8;
  struct Chunk {
    tidegate::plugin::Ticket tickets[chunk_size];
    Chunk* next;
  };
  void begin_pick(const tidegate::plugin::TableSet*, const tidegate::plugin::SlotSets*,
                  const tg_pick_args*) noexcept;
  void end_pick() noexcept { tables_ = nullptr, slots_ = nullptr, root_args_ = nullptr; }
  std::uint64_t issue(const tidegate::plugin::Ticket&) noexcept;  // 0: no memory
  tidegate::plugin::Ticket* ticket(std::uint64_t id) noexcept;    // null: never issued

  const tidegate::plugin::HeaderSource* headers_;
  const tidegate::plugin::TableSet* tables_ = nullptr;
  const tidegate::plugin::SlotSets* slots_ = nullptr;
  const tg_pick_args* root_args_ = nullptr;
  tidegate::plugin::Arena arena_;
  std::size_t plugin_bytes_ = 0;
  Chunk* first_ = nullptr;
  std::uint32_t ticket_count_ = 0, open_legs_ = 0, plans_handed_ = 0;
  bool body_editable_ = true;
};
