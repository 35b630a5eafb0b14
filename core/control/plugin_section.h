// What: a plugin's section of the configuration: checked by the component's schema, and what is wrong with it
// said where it stands.
// Threads: no shared state; the control thread.
// Ownership: values.
// Errors: lines ready to print, with file, line and column.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "plugin/library.h"

namespace tidegate::control {

// At the value that the refusal's JSON pointer names, else at the section's plugin.
std::string refusal_line(const config::PluginRef& section, const plugin::Refusal& refusal);

// The JSON for the component, defaults filled in; none, when there are errors.
std::optional<std::string> checked_section(const config::PluginRef& section,
                                           const plugin::Component& component,
                                           std::vector<std::string>& errors);

}  // namespace tidegate::control
