// What: the model of a continuous-batching engine. Work goes in steps; in one step every running sequence
//   decodes a token and prompts are prefilled within a token limit. A step takes
//     a + b x prefilled tokens + c x decoding sequences + d x their context tokens     microseconds, / speed.
// Threads: none, and no clock: time is what the caller says, real or virtual. The same calls give the same
//   events.
// Ownership: keeps requests until they are finished or cancelled; the prefix cache is its own.
// Errors: submit() refuses when the queue is full.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/prefix_cache.h"

namespace tidegate::engine {

using TimeNs = std::uint64_t;
inline constexpr TimeNs never = ~TimeNs{0};

// Defaults: an 8B model on one data-centre GPU, as published for such engines (10-15 ms between tokens, about
// 10,000 prefilled tokens a second).
struct ModelConfig {
  double prefill_us_per_token = 100;
  double decode_us_per_step = 10'000;
  double decode_us_per_token_in_batch = 60;
  double decode_us_per_context_token = 0.05;
  std::uint32_t max_batch = 256;
  std::uint32_t max_queue = 16'384;
  std::uint32_t max_prefill_tokens_per_step = 4'096;
  std::uint32_t block_tokens = 16;
  std::uint64_t cache_tokens = 524'288;
  double speed = 1;
  std::uint64_t seed = 0;
};

struct ModelRequest {
  std::uint64_t id = 0;  // the caller's; unique among those alive
  std::uint32_t prompt_tokens = 0;
  std::uint32_t output_tokens = 1;  // at least one comes
  TimeNs arrival = 0;               // never before an earlier submit's
  std::vector<BlockHash> blocks;    // of the prompt; empty: nothing is shared
};

struct ModelEvent {
  enum class Kind : std::uint8_t { first_token, token, finished };  // finished follows the last token
  Kind kind;
  std::uint64_t id;
  std::uint32_t tokens;         // produced so far
  std::uint32_t cached_tokens;  // of the prompt
  TimeNs at;
};

struct ModelCounters {
  std::uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::uint64_t finished = 0, cancelled = 0, rejected = 0;
};

class EngineModel {
 public:
  explicit EngineModel(const ModelConfig& config, std::unique_ptr<PrefixCache> cache = nullptr);

  [[nodiscard]] bool submit(ModelRequest request);  // false: the queue is full
  bool cancel(std::uint64_t id);                    // false: not alive; no event follows

  // Completes every step that ends up to `now`, appends its events, and returns when to call next (`never`:
  // nothing to do before the next submit). A late call costs no time: steps follow each other without a gap.
  TimeNs step(TimeNs now, std::vector<ModelEvent>& events);

  void set_slowdown(double factor) { slowdown_ = factor; }  // for steps that start from now on
  void flush_cache() { cache_->clear(); }

  std::size_t waiting() const { return waiting_.size(); }
  std::size_t running() const { return running_.size(); }
  std::uint64_t waiting_tokens() const { return waiting_tokens_; }
  std::uint64_t context_tokens() const;  // held by running sequences
  std::uint64_t capacity_tokens() const { return config_.cache_tokens; }
  double output_rate() const { return running_.empty() ? 0 : rate_; }  // tokens a second, of the last step
  double token_usage() const;  // 0..1, of what the running sequences hold
  const ModelCounters& counters() const { return counters_; }
  const ModelConfig& config() const { return config_; }

 private:
  struct Sequence {
    ModelRequest request;
    std::uint32_t cached = 0;
    std::uint32_t prefilled = 0;  // cached ones included
    std::uint32_t planned = 0;    // prompt tokens that the open step prefills
    std::uint32_t produced = 0;

    bool prefilling() const { return prefilled < request.prompt_tokens; }
  };
  TimeNs next_start() const;
  void begin_step(TimeNs at);
  void admit(TimeNs at, std::uint32_t budget);
  void end_step(std::vector<ModelEvent>& events);
  std::uint32_t plan_prefill(Sequence& sequence, std::uint32_t budget);

  ModelConfig config_;
  std::unique_ptr<PrefixCache> cache_;
  std::deque<ModelRequest> waiting_;
  std::vector<Sequence> running_;  // in order of admission
  std::uint64_t waiting_tokens_ = 0;
  bool stepping_ = false;
  TimeNs step_end_ = 0;  // of the open step, or of the last one
  TimeNs step_begin_ = 0;
  double rate_ = 0;
  double slowdown_ = 1;
  ModelCounters counters_;
};

}  // namespace tidegate::engine
