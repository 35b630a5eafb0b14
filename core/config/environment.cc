// ${NAME} references in scalars. The text before expansion stays with the node and is what people are shown.
#include <cstdlib>
#include <string>

#include "config/document.h"

namespace tidegate::config {
namespace {

bool is_name(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (const char c : name)
    if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
      return false;
  return true;
}

// Expands the reference at the front of `rest` ("${...") and takes it off. An error is returned, "" when
// there is none.
std::string take_reference(std::string_view& rest, std::string& out) {
  const std::size_t end = rest.find('}');
  if (end == std::string_view::npos)
    return "a '${' without its '}'; close it, or write '$${' for the two characters themselves";
  const std::string_view inside = rest.substr(2, end - 2);
  rest.remove_prefix(end + 1);
  const std::size_t dash = inside.find(":-");
  const std::string name(inside.substr(0, dash));
  if (!is_name(name))
    return "expected ${NAME} or ${NAME:-default} with a NAME of letters, digits and '_'; write '$${' for the "
           "two "
           "characters themselves";
  const char* value = std::getenv(name.c_str());
  const bool has_default = dash != std::string_view::npos;
  if (value != nullptr && (*value != '\0' || !has_default))
    out += value;
  else if (has_default)
    out += inside.substr(dash + 2);
  else
    return "the environment variable " + name + " is not set; set it, or give a default: ${" + name +
           ":-value}";
  return {};
}

void expand(Node& node, const std::string& path, Diagnostics& diagnostics) {
  for (auto& entry : node.entries())
    expand(entry.value, path.empty() ? entry.key : path + "." + entry.key, diagnostics);
  for (std::size_t i = 0; i < node.items().size(); ++i)
    expand(node.items()[i], path + "[" + std::to_string(i) + "]", diagnostics);
  if (!node.is_scalar() || node.from_reference() || node.text().find("${") == std::string::npos) return;
  std::string_view rest = node.text();
  std::string out;
  while (!rest.empty()) {
    if (rest.starts_with("$${")) {
      out += "${";
      rest.remove_prefix(3);
    } else if (rest.starts_with("${")) {
      if (const std::string error = take_reference(rest, out); !error.empty()) {
        diagnostics.error(node.mark(), path, error);
        return;
      }
    } else {
      out += rest[0];
      rest.remove_prefix(1);
    }
  }
  node.set_expanded(std::move(out));
}

}  // namespace

void expand_environment(Node& node, Diagnostics& diagnostics) { expand(node, "", diagnostics); }

}  // namespace tidegate::config
