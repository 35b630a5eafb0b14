// What: the body of POST /workers (SMG's WorkerSpec) as a worker, with the checks that every source's workers
// pass.
// Threads: no shared state.
// Ownership: values.
// Errors: a Refusal that names the member, what was expected and what was found.
#pragma once

#include <string>
#include <string_view>

#include "plugin/discovery_runner.h"

namespace tidegate::control {

struct WorkerRequest {
  plugin::WorkerDesc worker;
  std::string ignored;  // members that mean nothing here, by name; for the answer
};

plugin::Outcome<WorkerRequest> read_worker_request(std::string_view body);

}  // namespace tidegate::control
