// The configuration in force, as YAML: what was given, every default, no secret. It reads back as the same
// configuration.
#include <algorithm>

#include "config/document.h"
#include "config/schema.h"

namespace tidegate::config {
namespace {

constexpr std::string_view hidden_text = "***";

Node text_node(std::string_view text) { return Node::scalar(std::string(text), true, {}); }

// The value with what is secret in it replaced. A `file:` reference says where the secret is, not what it is.
Node without_secrets(const Node& node, bool hide) {
  if (hide && node.is_scalar() && !node.from_reference() && node.text().starts_with("file:")) return node;
  if (hide && !node.is_null()) return text_node(hidden_text);
  Node copy = node;
  for (auto& item : copy.items()) item = without_secrets(item, false);
  for (auto& entry : copy.entries()) entry.value = without_secrets(entry.value, names_secret(entry.key));
  return copy;
}

Node with_defaults(const Field& section, const Node& node);

Node effective_value(const Field& field, const Node& node) {
  if (field.type == Type::section) return with_defaults(field, node);
  if (field.type == Type::section_list) {
    Node list = Node::sequence({});
    for (const auto& item : node.items()) list.items().push_back(with_defaults(field, item));
    return list;
  }
  return without_secrets(node, field.secret);
}

Node with_defaults(const Field& section, const Node& node) {
  Node map = Node::map({});
  for (const auto& field : section.fields) {
    const Node* given = node.find(field.key);
    const bool nested = field.type == Type::section || field.type == Type::section_list;
    if (given != nullptr || nested)
      map.entries().push_back({field.key, {}, effective_value(field, node[field.key])});
    else if (!field.default_text.empty())
      map.entries().push_back(
          {field.key, {}, parse_document("value: " + field.default_text, "default").root["value"]});
  }
  return map;
}

std::string scalar_text(const Node& node) {
  if (node.is_null()) return "null";
  const std::string text = printable(node);
  if (node.quoted() || node.scalar_type() == ScalarType::string) {
    // A plain reference stays plain where it can, so that it keeps the type of what it stands for.
    const bool bare = node.from_reference() && !node.quoted() && text.starts_with("${") &&
                      text.find_first_of(" #\"'") == std::string::npos && text.find('}') == text.size() - 1;
    return bare ? text : yaml_text(text);
  }
  return node.from_reference() && text.find_first_of(" #\"'") != std::string::npos ? yaml_text(text) : text;
}

void add_block(const Node& node, const std::string& indent, std::string& out);

void add_value(const Node& node, const std::string& indent, std::string& out) {
  if (node.is_map() && node.entries().empty()) {
    out += " {}\n";
  } else if (node.is_sequence() && node.items().empty()) {
    out += " []\n";
  } else if (node.is_map() || node.is_sequence()) {
    out += "\n";
    add_block(node, indent + "  ", out);
  } else {
    out += " " + scalar_text(node) + "\n";
  }
}

void add_block(const Node& node, const std::string& indent, std::string& out) {
  for (const auto& entry : node.entries()) {
    out += indent + yaml_text(entry.key) + ":";
    add_value(entry.value, indent, out);
  }
  for (const auto& item : node.items()) {
    if (item.is_map() && !item.entries().empty()) {
      std::string block;
      add_block(item, indent + "  ", block);
      block[indent.size()] = '-';  // the map begins on the dash's line
      out += block;
    } else {
      out += indent + "-";
      add_value(item, indent, out);
    }
  }
}

}  // namespace

std::string effective_yaml(const Node& root) {
  Node full = root;
  if (root["routes"].items().empty()) {
    auto& entries = full.entries();
    entries.erase(std::remove_if(entries.begin(), entries.end(),
                                 [](const Node::Entry& entry) { return entry.key == "routes"; }),
                  entries.end());
    Node one = Node::sequence({});
    one.items().push_back(Node::map({}));
    entries.push_back({"routes", {}, std::move(one)});
  }
  std::string out;
  add_block(with_defaults(config_schema(), full), "", out);
  return out;
}

}  // namespace tidegate::config
