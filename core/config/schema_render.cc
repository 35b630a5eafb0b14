// What is generated from the schema: JSON Schema, the Markdown reference and the effective configuration.
#include <nlohmann/json.hpp>

#include "config/document.h"
#include "config/schema.h"

namespace tidegate::config {
namespace {

using Json = nlohmann::ordered_json;

Json default_json(const std::string& yaml) {
  return Json::parse(to_json(parse_document("value: " + yaml, "default").root["value"]));
}

void add_range(const Field& field, Json& schema) {
  if (field.minimum) schema["minimum"] = *field.minimum;
  if (field.maximum) schema["maximum"] = *field.maximum;
}

Json type_json(const Field& field);

Json object_json(const Field& field) {
  Json schema{{"type", "object"}, {"additionalProperties", false}};
  for (const auto& member : field.fields) {
    schema["properties"][member.key] = type_json(member);
    if (member.required) schema["required"].push_back(member.key);
  }
  return schema;
}

// A value that is not a text may also stand as a ${REFERENCE}.
Json or_reference(Json schema) {
  return {{"anyOf", {std::move(schema), {{"type", "string"}, {"pattern", "\\$\\{"}}}}};
}

Json or_list(const Json& item) { return {{"anyOf", {item, {{"type", "array"}, {"items", item}}}}}; }

Json bare_type_json(const Field& field) {
  switch (field.type) {
    case Type::boolean: return or_reference({{"type", "boolean"}});
    case Type::integer:
    case Type::integers:
    case Type::number: {
      Json number{{"type", field.type == Type::number ? "number" : "integer"}};
      add_range(field, number);
      return field.type == Type::integers ? or_list(or_reference(number)) : or_reference(number);
    }
    case Type::threads: {
      Json number{{"type", "integer"}};
      add_range(field, number);
      return {{"anyOf", {number, {{"type", "string"}, {"pattern", "^auto$|\\$\\{"}}}}};
    }
    case Type::string:
      // Plain numbers and words are texts here too, as in YAML's eyes `name: 1` is.
      return {{"type", {"string", "number", "boolean"}}};
    case Type::strings: return or_list({{"type", {"string", "number", "boolean"}}});
    case Type::size:
      return {{"type", {"integer", "string"}}, {"pattern", "^[0-9.]+ *([kKmMgGtT][iI]?)?[bB]?$|\\$\\{"}};
    case Type::duration:
      return {{"type", {"integer", "string"}}, {"pattern", "^0$|^([0-9.]+(ms|s|m|h|d))+$|\\$\\{"}};
    case Type::address: return {{"type", "string"}, {"pattern", "^off$|:[0-9]+$|\\$\\{"}};
    case Type::choice: {
      Json values = field.choices;
      return {{"enum", values}};
    }
    case Type::plugin: return {{"anyOf", {Json{{"type", "string"}}, object_json(field)}}};
    case Type::opaque: return {{"type", {"object", "null"}}};
    case Type::section: return object_json(field);
    case Type::section_list: return {{"type", "array"}, {"items", object_json(field)}};
  }
  return {};
}

Json type_json(const Field& field) {
  Json schema = bare_type_json(field);
  schema["description"] = field.doc;
  if (!field.default_text.empty()) schema["default"] = default_json(field.default_text);
  if (field.secret) schema["writeOnly"] = true;
  return schema;
}

std::string type_words(const Field& field) {
  switch (field.type) {
    case Type::boolean: return "true or false";
    case Type::integer: return "integer";
    case Type::number: return "number";
    case Type::string: return field.secret ? "secret" : "text";
    case Type::size: return "size";
    case Type::duration: return "duration";
    case Type::address: return "address";
    case Type::threads: return "integer or auto";
    case Type::strings: return "list of texts";
    case Type::integers: return "list of integers";
    case Type::plugin: return "plugin";
    case Type::opaque: return "map";
    case Type::section: return "section";
    case Type::section_list: return "list of sections";
    case Type::choice: {
      std::string words;
      for (const auto& word : field.choices) words += (words.empty() ? "" : ", ") + word;
      return words;
    }
  }
  return {};
}

void add_table(const Field& section, const std::string& path, std::string& out) {
  out += "\n### `" + path + "`\n\n" + section.doc +
         "\n\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const auto& field : section.fields) {
    if (field.type == Type::section || field.type == Type::section_list) continue;
    const std::string value =
        field.default_text.empty() ? (field.required ? "required" : "") : "`" + field.default_text + "`";
    const std::string range = allowed_range(field);
    out += "| `" + field.key + "` | " + type_words(field) + " | " + value + " | " + range + " | " +
           field.doc + " |\n";
  }
  for (const auto& field : section.fields)
    if (field.type == Type::section) add_table(field, path + "." + field.key, out);
}

}  // namespace

std::string schema_json() {
  Json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", config_schema().doc}};
  schema.update(object_json(config_schema()));
  schema["patternProperties"]["^x-"] = Json::object();
  return schema.dump(2);
}

std::string reference_markdown() {
  std::string out = "## Configuration reference\n";
  for (const auto& section : config_schema().fields)
    add_table(section, section.key + (section.type == Type::section_list ? "[]" : ""), out);
  return out;
}

}  // namespace tidegate::config
