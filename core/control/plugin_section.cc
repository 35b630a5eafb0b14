#include "control/plugin_section.h"

#include "config/json_schema.h"

namespace tidegate::control {

std::string refusal_line(const config::PluginRef& section, const plugin::Refusal& refusal) {
  std::string place = section.where.to_string();
  // A value that the plugin took from a default stands nowhere: then the nearest one around it.
  for (std::string_view at = refusal.where; !at.empty(); at = at.substr(0, at.rfind('/'))) {
    if (at[0] != '/') break;
    const config::Node* node = section.config.at_pointer(at);
    if (!node || node->mark().line == 0) continue;
    place = node->mark().to_string();
    break;
  }
  return (place.empty() ? "" : place + ": ") + section.path + refusal.where + ": " + refusal.text;
}

std::optional<std::string> checked_section(const config::PluginRef& section,
                                           const plugin::Component& component,
                                           std::vector<std::string>& errors) {
  constexpr const char* nothing = R"({"type":"object","additionalProperties":false})";
  auto checked = config::validate_against_json_schema(
      section.config, component.config_schema.empty() ? nothing : component.config_schema, section.path);
  if (checked.diagnostics.ok()) return std::move(checked.json);
  for (const auto& error : checked.diagnostics.errors()) errors.push_back(error);
  return std::nullopt;
}

}  // namespace tidegate::control
