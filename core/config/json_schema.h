// What: checks a plugin's section against the JSON Schema of its component and gives the JSON handed to
// `create`: scalars typed
//       by the schema (else by the YAML core rules), defaults filled in.
// Threads: no shared state. Control plane only.
// Ownership: results by value.
// Errors: collected, at the YAML's line and column, with path and JSON pointer; a schema that cannot be used
// is one error.
//
// Keywords: type, properties, required, additionalProperties, enum, const, minimum, maximum,
// exclusiveMinimum, exclusiveMaximum, minLength, maxLength, minItems, maxItems, items, default, pattern,
// anyOf, and format `duration`, `size`, `address`. `writeOnly: true` or format `password` marks a secret: its
// value never stands in an error. Annotations (title, description, examples, $schema, $id, $comment,
// deprecated, readOnly, other formats) are passed over; others are refused.
#pragma once

#include <string>
#include <string_view>

#include "config/node.h"

namespace tidegate::config {

struct SchemaResult {
  std::string json;  // empty when there are errors
  Diagnostics diagnostics;
};

// `path` is where the section stands, as in "routes[0].policy.config"; an absent node counts as an empty map.
SchemaResult validate_against_json_schema(const Node& node, std::string_view schema, const std::string& path);

}  // namespace tidegate::config
