// What: the tables of policy nodes: one table with the snapshot that it was made from, and the set of
//   a whole tree's tables that belongs to one published view.
// Threads: made on [control], read by all.
// Ownership: a TableSet keeps its root; when its last owner lets go elsewhere than on [control], its
//   end is posted there. A Table keeps its snapshot and is released by its node.
// Errors: none.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <tidegate/plugin.h>

namespace tidegate::plugin {

class PolicyNode;

class Table {
 public:
  Table(PolicyNode& node, void* table, std::shared_ptr<const tg_snapshot> snapshot) noexcept;
  ~Table();  // [control] releases it
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  const void* get() const noexcept { return table_; }

 private:
  PolicyNode& node_;
  void* table_;
  std::shared_ptr<const tg_snapshot> snapshot_;
};

// A node whose build failed has no table in the set: an older one need not fit the snapshot, whose slots
// may lie beyond it.
class TableSet {
 public:
  const Table* find(std::uint32_t index) const noexcept { return tables_[index].get(); }

 private:
  friend class PolicyNode;
  std::shared_ptr<PolicyNode> root_;  // declared first: goes after the tables
  std::vector<std::shared_ptr<const Table>> tables_;
};

}  // namespace tidegate::plugin
