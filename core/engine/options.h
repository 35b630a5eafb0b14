// What: what a simulated engine is told at its start.
// Threads: none.
// Ownership: values.
// Errors: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/faults.h"
#include "engine/model.h"

namespace tidegate::engine {

enum class Flavor : std::uint8_t { sglang, vllm };

struct EngineOptions {
  std::vector<std::string> models{"llama-3-8b"};
  Flavor flavor = Flavor::sglang;
  std::string id;  // sent as x-engine-id; empty: host:port
  std::uint32_t mean_output_tokens = 128;
  std::uint32_t max_model_len = 131'072;
  ModelConfig model;
  Faults faults;
};

}  // namespace tidegate::engine
