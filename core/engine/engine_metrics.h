// What: what the engine counts, and its /metrics text with SGLang's or vLLM's names.
// Threads: the engine's.
// Ownership: values.
// Errors: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/options.h"

namespace tidegate::engine {

class TimeHistogram {
 public:
  explicit TimeHistogram(std::span<const double> bounds) : bounds_(bounds), counts_(bounds.size() + 1) {}
  void observe(double seconds);
  void append(std::string& out, std::string_view name, std::string_view labels) const;

 private:
  std::span<const double> bounds_;
  std::vector<std::uint64_t> counts_;
  double sum_ = 0;
};

struct EngineCounters {
  EngineCounters();
  std::uint64_t requests = 0;  // of any kind, but for /debug
  std::uint64_t generations = 0;
  std::uint64_t completed = 0;     // answered whole
  std::uint64_t cut = 0;           // of those: at their max_tokens
  std::uint64_t aborted = 0;       // the client went away
  std::uint64_t faults = 0;        // misbehaved on purpose
  std::uint64_t open = 0;          // generations under way, hung and stalled ones included
  std::uint64_t open_streams = 0;  // of those, streaming
  TimeHistogram first_token, between_tokens, whole;
};

std::string metrics_text(const EngineOptions& options, const EngineModel& model,
                         const EngineCounters& counters);

}  // namespace tidegate::engine
