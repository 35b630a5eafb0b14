// What: one YAML text to a Node tree, nothing expanded or merged: internal to this folder, the one place that
// knows yaml-cpp. Threads: no shared state. Control plane only. Ownership: by value. Errors: into the
// diagnostics, with file:line:column; what could be read is returned, always a map.
#pragma once

#include <string>
#include <string_view>

#include "config/node.h"

namespace tidegate::config {

Node parse_tree(std::string_view text, const std::string& name, Diagnostics& diagnostics);

}  // namespace tidegate::config
