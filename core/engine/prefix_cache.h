// What: PrefixCache, the seam between the engine model and its memory of past prompts; block_hashes(), which
//   cuts a prompt into chained blocks; LruPrefixCache, a bounded set of block hashes.
// Threads: none; belongs to the model that uses it.
// Ownership: keeps hashes only, never prompt bytes.
// Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tidegate::engine {

using BlockHash = std::uint64_t;

inline constexpr std::uint32_t bytes_per_token = 4;  // the estimate behind every token count here

// A block's hash covers all blocks before it, so equal hashes mean equal prefixes. A last, partial block is
// left out: engines share whole blocks only.
std::vector<BlockHash> block_hashes(std::string_view prompt, std::uint32_t block_tokens,
                                    std::uint64_t salt = 0);

class PrefixCache {
 public:
  virtual ~PrefixCache() = default;
  // How many of the leading tokens are there; a hit is also a use.
  virtual std::uint32_t cached_tokens(std::span<const BlockHash> blocks) = 0;
  virtual void insert(std::span<const BlockHash> blocks) = 0;
  virtual void clear() = 0;
  virtual std::uint64_t used_tokens() const = 0;
};

class LruPrefixCache final : public PrefixCache {
 public:
  LruPrefixCache(std::uint32_t block_tokens, std::uint64_t capacity_tokens)
      : block_tokens_(block_tokens), capacity_blocks_(capacity_tokens / block_tokens) {}

  std::uint32_t cached_tokens(std::span<const BlockHash> blocks) override;
  void insert(std::span<const BlockHash> blocks) override;
  void clear() override;
  std::uint64_t used_tokens() const override { return std::uint64_t{index_.size()} * block_tokens_; }

 private:
  void touch(std::list<BlockHash>::iterator at) { order_.splice(order_.begin(), order_, at); }

  std::uint32_t block_tokens_;
  std::uint64_t capacity_blocks_;
  std::list<BlockHash> order_;  // most recent first
  std::unordered_map<BlockHash, std::list<BlockHash>::iterator> index_;
};

}  // namespace tidegate::engine
