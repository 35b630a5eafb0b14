#include "engine/model.h"

#include <algorithm>
#include <utility>

namespace tidegate::engine {

EngineModel::EngineModel(const ModelConfig& config, std::unique_ptr<PrefixCache> cache)
    : config_(config), cache_(std::move(cache)) {
  if (!cache_) cache_ = std::make_unique<LruPrefixCache>(config_.block_tokens, config_.cache_tokens);
}

bool EngineModel::submit(ModelRequest request) {
  if (waiting_.size() >= config_.max_queue) {
    ++counters_.rejected;
    return false;
  }
  request.prompt_tokens = std::max(request.prompt_tokens, 1u);
  request.output_tokens = std::max(request.output_tokens, 1u);
  waiting_tokens_ += request.prompt_tokens;
  waiting_.push_back(std::move(request));
  return true;
}

bool EngineModel::cancel(std::uint64_t id) {
  const auto running = std::find_if(running_.begin(), running_.end(),
                                    [id](const Sequence& sequence) { return sequence.request.id == id; });
  if (running != running_.end()) {
    running_.erase(running);
    ++counters_.cancelled;
    return true;
  }
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(),
                                    [id](const ModelRequest& request) { return request.id == id; });
  if (waiting == waiting_.end()) return false;
  waiting_tokens_ -= waiting->prompt_tokens;
  waiting_.erase(waiting);
  ++counters_.cancelled;
  return true;
}

TimeNs EngineModel::step(TimeNs now, std::vector<ModelEvent>& events) {
  for (;;) {
    if (!stepping_) {
      const TimeNs start = next_start();
      if (start > now) return start;
      begin_step(start);
    }
    if (step_end_ > now) return step_end_;
    end_step(events);
  }
}

TimeNs EngineModel::next_start() const {
  if (!running_.empty()) return step_end_;
  if (waiting_.empty()) return never;
  return std::max(step_end_, waiting_.front().arrival);
}

void EngineModel::begin_step(TimeNs at) {
  std::uint32_t decoding = 0;
  std::uint64_t context = 0;
  std::uint32_t budget = config_.max_prefill_tokens_per_step;
  for (Sequence& sequence : running_) {
    if (sequence.prefilling()) {
      budget -= plan_prefill(sequence, budget);
    } else {
      ++decoding;
      context += sequence.request.prompt_tokens + sequence.produced;
    }
  }
  admit(at, budget);
  std::uint64_t prefilled = 0;
  for (const Sequence& sequence : running_) prefilled += sequence.planned;

  const double us = config_.decode_us_per_step +
                    config_.prefill_us_per_token * static_cast<double>(prefilled) +
                    config_.decode_us_per_token_in_batch * decoding +
                    config_.decode_us_per_context_token * static_cast<double>(context);
  // At least a nanosecond, so that time moves and step() ends.
  step_end_ = at + std::max<TimeNs>(1, static_cast<TimeNs>(us * 1000.0 * slowdown_ / config_.speed));
  step_begin_ = at;
  stepping_ = true;
  ++counters_.steps;
}

// First come, first served: the head of the queue is never passed.
void EngineModel::admit(TimeNs at, std::uint32_t budget) {
  while (!waiting_.empty() && waiting_.front().arrival <= at && running_.size() < config_.max_batch &&
         budget > 0) {
    Sequence sequence{.request = std::move(waiting_.front())};
    waiting_.pop_front();
    const std::uint32_t prompt = sequence.request.prompt_tokens;
    waiting_tokens_ -= prompt;
    // The last prompt token is always computed: its output is the first token.
    sequence.cached = std::min(cache_->cached_tokens(sequence.request.blocks), prompt - 1);
    sequence.prefilled = sequence.cached;
    counters_.prompt_tokens += prompt;
    counters_.cached_tokens += sequence.cached;
    budget -= plan_prefill(sequence, budget);
    running_.push_back(std::move(sequence));
  }
}

std::uint32_t EngineModel::plan_prefill(Sequence& sequence, std::uint32_t budget) {
  sequence.planned = std::min(budget, sequence.request.prompt_tokens - sequence.prefilled);
  return sequence.planned;
}

void EngineModel::end_step(std::vector<ModelEvent>& events) {
  stepping_ = false;
  const std::uint64_t before = counters_.output_tokens;
  for (Sequence& sequence : running_) {
    if (sequence.prefilling()) {
      sequence.prefilled += std::exchange(sequence.planned, 0);
      if (sequence.prefilling()) continue;
      cache_->insert(sequence.request.blocks);
    }
    const auto kind = sequence.produced == 0 ? ModelEvent::Kind::first_token : ModelEvent::Kind::token;
    ++sequence.produced;
    ++counters_.output_tokens;
    events.push_back({kind, sequence.request.id, sequence.produced, sequence.cached, step_end_});
    if (sequence.produced < sequence.request.output_tokens) continue;
    ++counters_.finished;
    events.push_back(
        {ModelEvent::Kind::finished, sequence.request.id, sequence.produced, sequence.cached, step_end_});
  }
  rate_ = static_cast<double>(counters_.output_tokens - before) * 1e9 /
          static_cast<double>(std::max<TimeNs>(1, step_end_ - step_begin_));
  std::erase_if(running_, [](const Sequence& s) { return s.produced >= s.request.output_tokens; });
}

std::uint64_t EngineModel::context_tokens() const {
  std::uint64_t sum = 0;
  for (const Sequence& sequence : running_) sum += sequence.prefilled + sequence.produced;
  return sum;
}

double EngineModel::token_usage() const {
  const auto capacity = static_cast<double>(std::max<std::uint64_t>(1, config_.cache_tokens));
  return std::min(1.0, static_cast<double>(context_tokens()) / capacity);
}

}  // namespace tidegate::engine
