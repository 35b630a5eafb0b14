// tidegate/testing/json.hpp - a small JSON reader for the fake host: configurations are texts, as in
// production.
//
// What      Json::parse() makes a tree; at("/a/0/b") follows a JSON pointer. Enough for configurations and
// schemas. Threads   One. Ownership Values are owned by their tree. Errors    tg::Error TG_E_INVALID with the
// position.
#pragma once
#include <cstdlib>
#include <map>
#include <vector>

#include "../basics.hpp"

namespace tg::testing {

class Json {
 public:
  enum class Kind { null, boolean, number, string, list, object };
  Kind kind = Kind::null;
  bool truth = false;
  double number = 0;
  std::string text;  // of a string, unescaped; of a number, as written
  std::vector<Json> items;
  std::map<std::string, Json, std::less<>> members;

  static Json parse(std::string_view text);  // json_reader.hpp
  // The value that a JSON pointer leads to, or null.
  const Json* at(std::string_view pointer) const {
    const Json* here = this;
    while (!pointer.empty() && here) {
      pointer.remove_prefix(1);
      std::string name = unescape(pointer.substr(0, pointer.find('/')));
      pointer.remove_prefix(std::min(pointer.find('/'), pointer.size()));
      here = here->child(name);
    }
    return here;
  }
  std::string dump() const {
    switch (kind) {
      case Kind::null: return "null";
      case Kind::boolean: return truth ? "true" : "false";
      case Kind::number: return text;
      case Kind::string: return quote(text);
      case Kind::list: return joined("[", "]");
      default: return joined("{", "}");
    }
  }
  static std::string quote(std::string_view text) {
    std::string out = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      if (static_cast<unsigned char>(c) < 0x20) {
        const char* hex = "0123456789abcdef";
        out += std::string("\\u00") + hex[c >> 4] + hex[c & 15];
      } else {
        out += c;
      }
    }
    return out + '"';
  }

 private:
  const Json* child(const std::string& name) const {
    if (kind == Kind::object) {
      auto found = members.find(name);
      return found == members.end() ? nullptr : &found->second;
    }
    size_t index = std::strtoul(name.c_str(), nullptr, 10);
    return kind == Kind::list && index < items.size() ? &items[index] : nullptr;
  }
  static std::string unescape(std::string_view token) {
    std::string out;
    for (size_t i = 0; i < token.size(); ++i) {
      bool escape = token[i] == '~' && i + 1 < token.size();
      out += escape ? (token[++i] == '1' ? '/' : '~') : token[i];
    }
    return out;
  }
  std::string joined(const char* open, const char* close) const {
    std::string out = open;
    for (auto& item : items) out += (out.size() > 1 ? "," : "") + item.dump();
    for (auto& [name, member] : members)
      out += (out.size() > 1 ? "," : "") + quote(name) + ":" + member.dump();
    return out + close;
  }
};

}  // namespace tg::testing

#include "json_reader.hpp"
