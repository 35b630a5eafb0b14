#include "config/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "config/values.h"

namespace tidegate::config {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 19> constraints{"type",
                                                       "properties",
                                                       "required",
                                                       "additionalProperties",
                                                       "enum",
                                                       "const",
                                                       "minimum",
                                                       "maximum",
                                                       "minLength",
                                                       "exclusiveMinimum",
                                                       "exclusiveMaximum",
                                                       "maxLength",
                                                       "minItems",
                                                       "maxItems",
                                                       "items",
                                                       "default",
                                                       "pattern",
                                                       "anyOf",
                                                       "format"};
constexpr std::array<std::string_view, 10> annotations{"title",     "description", "examples",   "$schema",
                                                       "$id",       "$comment",    "deprecated", "readOnly",
                                                       "writeOnly", "unit"};

// Where a value stands: the YAML's place, and both ways to name it.
struct Place {
  std::string path;     // routes[0].policy.config.prefill
  std::string pointer;  // /prefill
  bool secret = false;

  Place key(const std::string& name) const {
    std::string escaped;
    for (const char c : name) escaped += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return {path + "." + name, pointer + "/" + escaped, secret || names_secret(name)};
  }
  Place item(std::size_t index) const {
    return {path + "[" + std::to_string(index) + "]", pointer + "/" + std::to_string(index), secret};
  }
};

// A schema that is wrong in itself; the plugin's author must mend it.
struct BadSchema {
  std::string text;
};

std::string words(const Json& list) {
  std::string out;
  for (const auto& word : list)
    out += (out.empty() ? "" : " or ") + (word.is_string() ? word.get<std::string>() : word.dump());
  return out;
}

// The types that a schema allows, in its order; empty for any.
std::vector<std::string> allowed_types(const Json& schema) {
  const auto found = schema.find("type");
  if (found == schema.end()) return {};
  std::vector<std::string> types;
  for (const auto& type : found->is_array() ? *found : Json::array({*found})) {
    static constexpr std::array<std::string_view, 7> known{"null",   "boolean", "integer", "number",
                                                           "string", "array",   "object"};
    if (!type.is_string() || std::find(known.begin(), known.end(), type.get<std::string>()) == known.end())
      throw BadSchema{"'type' is " + type.dump() + ", which JSON Schema does not know"};
    types.push_back(type.get<std::string>());
  }
  return types;
}

class Validator {
 public:
  explicit Validator(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  // The JSON of the node as the schema sees it; what is wrong goes into the diagnostics.
  Json check(const Node& node, const Json& schema, Place place) {
    if (schema.is_boolean()) return schema.get<bool>() ? untyped(node) : refuse(node, place, "nothing here");
    check_keywords(schema, place);
    place.secret =
        place.secret || schema.value("writeOnly", false) || schema.value("format", "") == "password";
    if (const auto any = schema.find("anyOf"); any != schema.end()) return check_any(node, *any, place);
    const auto types = allowed_types(schema);
    const auto allows = [&](std::string_view type) {
      return types.empty() || std::find(types.begin(), types.end(), type) != types.end();
    };
    if (node.is_map() && allows("object")) return check_object(node, schema, place);
    if (node.is_sequence() && allows("array")) return check_array(node, schema, place);
    Json value;
    if (!node.is_scalar() || !typed_scalar(node, types, value)) {
      const bool quoted_number =
          node.is_scalar() && node.quoted() && resolve_core(node.text()) != ScalarType::string;
      return refuse(node, place, words(schema["type"]), quoted_number ? "; remove the quotes" : "");
    }
    check_scalar(node, value, schema, place);
    return value;
  }

 private:
  void error(const Mark& where, const Place& place, const std::string& text) {
    diagnostics_.error(where, place.path,
                       text + " (at " + (place.pointer.empty() ? "/" : place.pointer) + ")");
  }

  Json refuse(const Node& node, const Place& place, const std::string& expected,
              const std::string& hint = "") {
    error(node.mark(), place, "expected " + expected + ", found " + describe(node, place.secret) + hint);
    return nullptr;
  }

  static Json untyped(const Node& node) {
    return node.kind() == Node::Kind::none ? Json::object() : Json::parse(to_json(node));
  }

  static void check_keywords(const Json& schema, const Place& place) {
    if (!schema.is_object())
      throw BadSchema{"expected an object for '" + place.path + "', found " + schema.dump()};
    for (const auto& [key, value] : schema.items()) {
      const auto in = [&key = key](const auto& list) {
        return std::find(list.begin(), list.end(), key) != list.end();
      };
      if (!in(constraints) && !in(annotations))
        throw BadSchema{"the keyword '" + key +
                        "' is not supported; see the list in the plugin documentation"};
    }
  }

  // The first alternative that fits; without one, the first's errors say what was expected.
  Json check_any(const Node& node, const Json& schemas, const Place& place) {
    Diagnostics first;
    for (std::size_t i = 0; i < schemas.size(); ++i) {
      Diagnostics tried;
      Json value = Validator(tried).check(node, schemas[i], place);
      if (tried.ok()) return value;
      if (i == 0) first = tried;
    }
    diagnostics_.append(first);
    return nullptr;
  }

  Json check_object(const Node& node, const Json& schema, const Place& place) {
    const Json none = Json::object();
    const Json& properties = schema.contains("properties") ? schema["properties"] : none;
    Json out = Json::object();
    for (const auto& entry : node.entries()) {
      const Place inner = place.key(entry.key);
      if (const auto known = properties.find(entry.key); known != properties.end())
        out[entry.key] = check(entry.value, *known, inner);
      else if (!schema.contains("additionalProperties") || schema["additionalProperties"] == true)
        out[entry.key] = untyped(entry.value);
      else if (schema["additionalProperties"].is_object())
        out[entry.key] = check(entry.value, schema["additionalProperties"], inner);
      else
        unknown_key(entry, properties, inner);
    }
    for (const auto& key : schema.value("required", Json::array()))
      if (node.find(key.get<std::string>()) == nullptr)
        error(node.mark(), place, "the key '" + key.get<std::string>() + "' is missing");
    add_defaults(properties, out);
    return out;
  }

  void unknown_key(const Node::Entry& entry, const Json& properties, const Place& place) {
    std::vector<std::string> known;
    std::string list;
    for (const auto& [key, value] : properties.items()) {
      known.push_back(key);
      list += (list.empty() ? "" : ", ") + key;
    }
    const std::string near = nearest(entry.key, known);
    const std::string key = printable(Node::scalar(entry.key, true, {}));
    error(entry.key_mark, place,
          "unknown key '" + key + "'" +
              (!near.empty()   ? "; did you mean '" + near + "'?"
               : !list.empty() ? "; known keys: " + list
                               : "; there are none"));
  }

  // Also below an absent object: a default deep inside is to be seen without its parents being written.
  static void add_defaults(const Json& properties, Json& out) {
    for (const auto& [key, schema] : properties.items()) {
      if (out.contains(key) || !schema.is_object()) continue;
      if (schema.contains("default")) out[key] = schema["default"];
      if (schema.value("type", Json()) != "object" || !schema.contains("properties")) continue;
      Json inner = out.contains(key) ? out[key] : Json::object();
      add_defaults(schema["properties"], inner);
      if (!inner.empty()) out[key] = inner;
    }
  }

  Json check_array(const Node& node, const Json& schema, const Place& place) {
    Json out = Json::array();
    const Json any = Json::object();
    const Json& item = schema.contains("items") ? schema["items"] : any;
    for (std::size_t i = 0; i < node.items().size(); ++i)
      out.push_back(check(node.items()[i], item, place.item(i)));
    const auto count = static_cast<double>(out.size());
    check_bound(node, schema, "minItems", count, place, "at least ", " items", std::less<>());
    check_bound(node, schema, "maxItems", count, place, "at most ", " items", std::greater<>());
    check_members(node, out, schema, place);
    return out;
  }

  // Types the scalar by what the schema allows: a plain 8000 is a string where only a string fits.
  static bool typed_scalar(const Node& node, const std::vector<std::string>& types, Json& value) {
    value = Json::parse(to_json(node));
    if (types.empty()) return true;
    const auto allows = [&](std::string_view type) {
      return std::find(types.begin(), types.end(), type) != types.end();
    };
    if (value.is_null() && allows("null")) return true;
    if (value.is_boolean() && allows("boolean")) return true;
    if (value.is_number_integer() && (allows("integer") || allows("number"))) return true;
    if (value.is_number_float() && allows("number")) return true;
    if (value.is_number_float() && allows("integer") && std::fabs(value.get<double>()) < 9e15 &&
        std::floor(value.get<double>()) == value.get<double>()) {
      value = static_cast<std::int64_t>(value.get<double>());
      return true;
    }
    if (!allows("string") || value.is_null()) return false;
    if (!value.is_string()) value = node.text();
    return true;
  }

  void check_scalar(const Node& node, const Json& value, const Json& schema, const Place& place) {
    if (value.is_number()) {
      const double number = value.get<double>();
      check_bound(node, schema, "minimum", number, place, "at least ", "", std::less<>());
      check_bound(node, schema, "maximum", number, place, "at most ", "", std::greater<>());
      check_bound(node, schema, "exclusiveMinimum", number, place, "more than ", "", std::less_equal<>());
      check_bound(node, schema, "exclusiveMaximum", number, place, "less than ", "", std::greater_equal<>());
    }
    if (value.is_string()) check_string(node, value.get<std::string>(), schema, place);
    check_members(node, value, schema, place);
  }

  void check_string(const Node& node, const std::string& text, const Json& schema, const Place& place) {
    const auto count = static_cast<double>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
    check_bound(node, schema, "minLength", count, place, "at least ", " characters", std::less<>());
    check_bound(node, schema, "maxLength", count, place, "at most ", " characters", std::greater<>());
    const std::string format = schema.value("format", "");
    if (format == "duration" && !parse_duration(text))
      refuse(node, place, "a duration such as 250ms, 5s or 2m");
    if (format == "size" && !parse_size(text)) refuse(node, place, "a size such as 4096, 10k or 64MiB");
    if (format == "address" && !parse_address(text).address)
      refuse(node, place, "an address such as 0.0.0.0:30000 or [::]:30000");
    if (schema.contains("pattern")) check_pattern(node, text, schema["pattern"].get<std::string>(), place);
  }

  void check_pattern(const Node& node, const std::string& text, const std::string& pattern,
                     const Place& place) {
    constexpr std::size_t longest = 4096;  // libstdc++'s matcher recurses once a character
    try {
      const std::regex expression(pattern, std::regex::ECMAScript);
      if (text.size() > longest || !std::regex_search(text, expression))
        refuse(node, place, "a text that matches " + pattern);
    } catch (const std::regex_error&) {
      throw BadSchema{"the pattern '" + pattern + "' cannot be read"};
    }
  }

  void check_members(const Node& node, const Json& value, const Json& schema, const Place& place) {
    if (const auto only = schema.find("const"); only != schema.end() && *only != value)
      refuse(node, place, words(Json::array({*only})));
    const auto list = schema.find("enum");
    if (list == schema.end() || std::find(list->begin(), list->end(), value) != list->end()) return;
    std::vector<std::string> known;
    for (const auto& word : *list)
      if (word.is_string()) known.push_back(word.get<std::string>());
    const std::string near = node.is_scalar() ? nearest(node.text(), known) : "";
    refuse(node, place, words(*list), near.empty() || place.secret ? "" : "; did you mean '" + near + "'?");
  }

  template <class Broken>
  void check_bound(const Node& node, const Json& schema, const char* keyword, double value,
                   const Place& place, const char* before, const char* after, Broken broken) {
    const auto bound = schema.find(keyword);
    if (bound == schema.end() || !broken(value, bound->template get<double>())) return;
    refuse(node, place, before + bound->dump() + after);
  }

  Diagnostics& diagnostics_;
};

}  // namespace

SchemaResult validate_against_json_schema(const Node& node, std::string_view schema,
                                          const std::string& path) {
  SchemaResult result;
  const auto unusable = [&](const std::string& why) {
    result.diagnostics.error(node.mark(), path, "the plugin's own schema cannot be used: " + why);
  };
  try {
    const Json parsed = Json::parse(schema);
    const Node empty = Node::map(node.mark());
    const Json value =
        Validator(result.diagnostics).check(node.is_null() ? empty : node, parsed, {path, "", false});
    if (result.diagnostics.ok()) result.json = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  } catch (const BadSchema& bad) {
    unusable(bad.text);
  } catch (const Json::exception& error) {
    unusable(error.what());
  }
  return result;
}

}  // namespace tidegate::config
