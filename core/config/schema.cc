#include "config/schema.h"

#include <algorithm>
#include <cmath>

#include "config/document.h"
#include "config/values.h"

namespace tidegate::config {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string format_bound(const Field& field, double value) {
  if (field.type == Type::size) return format_size(static_cast<std::uint64_t>(value));
  if (field.type == Type::duration)
    return format_duration(std::chrono::milliseconds(static_cast<std::int64_t>(value)));
  if (value == std::floor(value) && std::fabs(value) < 1e15)
    return std::to_string(static_cast<std::int64_t>(value));
  std::string text = std::to_string(value);
  while (text.ends_with('0')) text.pop_back();
  return text;
}

// What a value of this type looks like, for "expected ...".
std::string expected(const Field& field) {
  switch (field.type) {
    case Type::boolean: return "true or false";
    case Type::integer:
    case Type::integers: return "a whole number";
    case Type::number: return "a number";
    case Type::string:
    case Type::strings: return "a text";
    case Type::size: return "a size such as 4096, 10k or 64MiB";
    case Type::duration: return "a duration such as 250ms, 5s or 2m";
    case Type::address: return "an address such as 0.0.0.0:30000";
    case Type::choice: return "one of " + join(field.choices);
    case Type::threads: return "a whole number or auto";
    case Type::plugin: return "a plugin's name, or a map with plugin and config";
    case Type::opaque:
    case Type::section: return "a map";
    case Type::section_list: return "a list";
  }
  return {};
}

// The number that a range is about; empty when the text is not one.
std::optional<double> measure(const Field& field, const Node& node) {
  const bool plain_integer = node.scalar_type() == ScalarType::integer;
  switch (field.type) {
    case Type::threads:
      if (node.text() == "auto") return field.minimum;
      [[fallthrough]];
    case Type::integer:
    case Type::integers:
      if (const auto value = parse_integer(node.text()); plain_integer && value)
        return static_cast<double>(*value);
      return {};
    case Type::number:
      return plain_integer || node.scalar_type() == ScalarType::number ? parse_number(node.text())
                                                                       : std::nullopt;
    case Type::size:
      if (const auto value = parse_size(node.text())) return static_cast<double>(*value);
      return {};
    case Type::duration:
      if (const auto value = parse_duration(node.text())) return static_cast<double>(value->count());
      return {};
    default: return 0;
  }
}

std::string hint(const Field& field, const Node& node) {
  const ScalarType bare = resolve_core(node.text());
  const bool numeric = bare == ScalarType::integer || bare == ScalarType::number;
  if (field.type == Type::duration && numeric) return "; add a unit: ms, s, m, h or d";
  if (node.quoted() &&
      ((field.type == Type::boolean && bare == ScalarType::boolean) ||
       ((field.type == Type::integer || field.type == Type::threads || field.type == Type::number) &&
        numeric)))
    return "; remove the quotes";
  if (field.type == Type::choice)
    if (const auto near = nearest(node.text(), field.choices); !near.empty())
      return "; did you mean '" + near + "'?";
  return {};
}

bool right_type(const Field& field, const Node& node) {
  switch (field.type) {
    case Type::boolean: return node.scalar_type() == ScalarType::boolean;
    case Type::string:
    case Type::strings: return field.secret || !node.text().empty();
    case Type::choice:
      return std::find(field.choices.begin(), field.choices.end(), node.text()) != field.choices.end();
    default: return measure(field, node).has_value();
  }
}

bool check_scalar(const Field& field, const Node& node, const std::string& path, Diagnostics& diagnostics) {
  if (!node.is_scalar() || node.is_null() || !right_type(field, node)) {
    const std::string found = node.is_scalar() && node.quoted() && node.text().empty()
                                  ? "an empty text"
                                  : describe(node, field.secret);
    diagnostics.error(
        node.mark(), path,
        "expected " + expected(field) + ", found " + found + (node.is_scalar() ? hint(field, node) : ""));
    return false;
  }
  if (field.type == Type::address) {
    const auto parsed = parse_address(node.text());
    // The parser's text quotes what it was given: of a reference only the reference may be shown.
    if (!parsed.address)
      diagnostics.error(
          node.mark(), path,
          node.from_reference() ? "expected " + expected(field) + ", found " + describe(node) : parsed.error);
    return parsed.address.has_value();
  }
  const double value = measure(field, node).value_or(0);
  if ((field.minimum && value < *field.minimum) || (field.maximum && value > *field.maximum)) {
    diagnostics.error(node.mark(), path, "expected " + allowed_range(field) + ", found " + describe(node));
    return false;
  }
  return true;
}

// A list, or one scalar that stands for a list of one.
bool check_list(const Field& field, const Node& node, const std::string& path, Diagnostics& diagnostics) {
  if (!node.is_sequence()) return check_scalar(field, node, path, diagnostics);
  bool good = true;
  for (std::size_t i = 0; i < node.items().size(); ++i)
    good = check_scalar(field, node.items()[i], path + "[" + std::to_string(i) + "]", diagnostics) && good;
  return good;
}

bool check_map(const Field& field, const Node& node, const std::string& path, Diagnostics& diagnostics) {
  if (node.is_map()) return true;
  diagnostics.error(node.mark(), path,
                    "expected " + expected(field) + ", found " + describe(node, field.secret));
  return false;
}

void read_list(const Field& field, const Node& node, const std::string& path, void* owner,
               Diagnostics& diagnostics) {
  if (!node.is_sequence()) {
    diagnostics.error(node.mark(), path,
                      "expected a list, found " + describe(node) + "; begin each item with '- '");
    return;
  }
  for (std::size_t i = 0; i < node.items().size(); ++i)
    read_section(field, node.items()[i], path + "[" + std::to_string(i) + "]", field.enter(owner),
                 diagnostics);
}

void read_plugin(const Field& field, const Node& node, const std::string& path, void* owner,
                 Diagnostics& diagnostics) {
  if (node.is_map()) {
    read_section(field, node, path, field.enter(owner), diagnostics);
  } else if (check_scalar(field, node, path, diagnostics)) {
    field.store(owner, node, path, diagnostics);
  }
}

void read_field(const Field& field, const Node& node, const std::string& path, void* owner,
                Diagnostics& diagnostics) {
  switch (field.type) {
    case Type::section:
      if (!node.is_null()) read_section(field, node, path, field.enter(owner), diagnostics);
      return;
    case Type::section_list:
      if (!node.is_null()) read_list(field, node, path, owner, diagnostics);
      return;
    case Type::plugin: return read_plugin(field, node, path, owner, diagnostics);
    case Type::opaque:
      if (!node.is_null() && check_map(field, node, path, diagnostics))
        field.store(owner, node, path, diagnostics);
      return;
    case Type::strings:
    case Type::integers:
      if (check_list(field, node, path, diagnostics)) field.store(owner, node, path, diagnostics);
      return;
    default:
      if (check_scalar(field, node, path, diagnostics)) field.store(owner, node, path, diagnostics);
  }
}

void report_unknown(const Field& section, const Node::Entry& entry, const std::string& path,
                    Diagnostics& diagnostics) {
  std::vector<std::string> known;
  for (const auto& field : section.fields) known.push_back(field.key);
  const std::string near = nearest(entry.key, known);
  const std::string key = printable(Node::scalar(entry.key, true, {}));
  diagnostics.error(entry.key_mark, path.empty() ? key : path + "." + key,
                    "unknown key '" + key + "'" +
                        (near.empty() ? "; known keys: " + join(known) : "; did you mean '" + near + "'?"));
}

}  // namespace

std::string allowed_range(const Field& field) {
  if (!field.minimum && !field.maximum) return {};
  if (field.minimum && field.maximum)
    return format_bound(field, *field.minimum) + " to " + format_bound(field, *field.maximum);
  return field.minimum ? "at least " + format_bound(field, *field.minimum)
                       : "at most " + format_bound(field, *field.maximum);
}

void read_section(const Field& field, const Node& node, const std::string& path, void* owner,
                  Diagnostics& diagnostics) {
  if (!node.is_map()) {
    const bool secret = std::any_of(field.fields.begin(), field.fields.end(),
                                    [](const Field& member) { return member.secret; });
    diagnostics.error(node.mark(), path, "expected a map, found " + describe(node, secret));
    return;
  }
  for (const auto& entry : node.entries()) {
    const auto known = std::find_if(field.fields.begin(), field.fields.end(),
                                    [&](const Field& member) { return member.key == entry.key; });
    if (known != field.fields.end())
      read_field(*known, entry.value, path.empty() ? entry.key : path + "." + entry.key, owner, diagnostics);
    else if (!path.empty() || !entry.key.starts_with("x-"))  // x-...: a place for anchors
      report_unknown(field, entry, path, diagnostics);
  }
  for (const auto& member : field.fields)
    if (member.required && node.find(member.key) == nullptr)
      diagnostics.error(node.mark(), path, "the key '" + member.key + "' is missing; it is " + member.doc);
}

}  // namespace tidegate::config
