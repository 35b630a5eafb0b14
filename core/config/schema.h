// What: the declarative description of every section of the configuration. From it come the checks, the
// defaults, the JSON
//       Schema for editors, the Markdown reference and the effective configuration that is printed.
// Threads: the description is built once, immutable, and read from anywhere.
// Ownership: config_schema() lives as long as the process.
// Errors: all collected in Diagnostics, each with file:line:column, path, expected, found and what to do.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/node.h"

namespace tidegate::config {

enum class Type : std::uint8_t {
  boolean,
  integer,
  number,
  string,
  size,
  duration,
  address,
  choice,
  threads,       // a number or `auto`
  strings,       // a list; a single scalar stands for a list of one
  integers,      // likewise
  plugin,        // a plugin's name, or a map {plugin, config}
  opaque,        // any map; the plugin's schema judges it
  section,       // a map described by `fields`
  section_list,  // a list of such maps
};

struct Field {
  std::string key;
  Type type = Type::string;
  std::string doc;
  std::string default_text{};  // YAML; "" when there is none
  std::string unit{};
  std::optional<double> minimum{}, maximum{};  // of numbers, of bytes, of milliseconds, of list items
  std::vector<std::string> choices{};
  bool required = false;
  bool secret = false;
  std::vector<Field> fields{};
  // Stores the checked node in the struct that holds this section; called only for a node that passed
  // check_scalar.
  std::function<void(void* owner, const Node& node, const std::string& path, Diagnostics&)> store{};
  // Of a section_list: appends an element to the owner's vector and returns it. Of a section: returns the
  // member.
  std::function<void*(void* owner)> enter{};
};

// The whole configuration as one section; storing goes into a Config.
const Field& config_schema();

// Checks `node` against `field` (a section) and stores what is right into `owner`, the struct the section
// fills.
void read_section(const Field& field, const Node& node, const std::string& path, void* owner,
                  Diagnostics& diagnostics);

// "1 to 1024", "at least 1"; empty without limits.
std::string allowed_range(const Field& field);

std::string schema_json();                     // JSON Schema, draft 2020-12
std::string reference_markdown();              // one table a section
std::string effective_yaml(const Node& root);  // defaults filled in, secrets hidden

}  // namespace tidegate::config
