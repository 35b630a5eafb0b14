#include "engine/prefix_cache.h"

#include <xxhash.h>

namespace tidegate::engine {

std::vector<BlockHash> block_hashes(std::string_view prompt, std::uint32_t block_tokens, std::uint64_t salt) {
  const std::size_t block = std::size_t{block_tokens} * bytes_per_token;
  std::vector<BlockHash> hashes;
  hashes.reserve(prompt.size() / block);
  std::uint64_t parent = salt;
  for (; prompt.size() >= block; prompt.remove_prefix(block)) {
    parent = XXH3_64bits_withSeed(prompt.data(), block, parent);
    hashes.push_back(parent);
  }
  return hashes;
}

std::uint32_t LruPrefixCache::cached_tokens(std::span<const BlockHash> blocks) {
  std::size_t found = 0;
  while (found < blocks.size() && index_.contains(blocks[found])) ++found;
  // From the back, so that the head of a prefix is younger than its tail and outlives it.
  for (std::size_t i = found; i-- > 0;) touch(index_.find(blocks[i])->second);
  return static_cast<std::uint32_t>(found) * block_tokens_;
}

void LruPrefixCache::insert(std::span<const BlockHash> blocks) {
  for (std::size_t i = blocks.size(); i-- > 0;) {
    if (const auto at = index_.find(blocks[i]); at != index_.end()) {
      touch(at->second);
      continue;
    }
    order_.push_front(blocks[i]);
    index_.emplace(blocks[i], order_.begin());
  }
  for (; index_.size() > capacity_blocks_; order_.pop_back()) index_.erase(order_.back());
}

void LruPrefixCache::clear() {
  order_.clear();
  index_.clear();
}

}  // namespace tidegate::engine
