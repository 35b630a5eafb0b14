// tidegate/testing/json_reader.hpp - how Json::parse() reads. Included by json.hpp.
//
// What      Recursive descent over the whole text.
// Threads   One.
// Ownership The text is borrowed during parse().
// Errors    tg::Error TG_E_INVALID with the position and what was expected there.
#pragma once
#include "json.hpp"

namespace tg::testing {

struct JsonReader {
  using Kind = Json::Kind;
  std::string_view in;
  size_t at;
  [[noreturn]] void fail(const char* wanted) const {
    throw Error(TG_E_INVALID, "", "JSON at byte " + std::to_string(at) + ": expected " + wanted);
  }
  void blanks() {
    while (at < in.size() && (in[at] == ' ' || in[at] == '\n' || in[at] == '\t' || in[at] == '\r')) ++at;
  }
  char peek() {
    blanks();
    return at < in.size() ? in[at] : '\0';
  }
  bool take(std::string_view word) {
    blanks();
    if (in.substr(at, word.size()) != word) return false;
    at += word.size();
    return true;
  }
  Json value() {
    Json v;
    if (peek() == '{') {
      v.kind = Kind::object;
      series('{', '}', [&] {
        std::string name = (peek() == '"') ? string() : (fail("a member name"), "");
        if (!take(":")) fail("':'");
        v.members[name] = value();
      });
    } else if (peek() == '[') {
      v.kind = Kind::list;
      series('[', ']', [&] { v.items.push_back(value()); });
    } else if (peek() == '"') {
      v.kind = Kind::string, v.text = string();
    } else if (take("true")) {
      v.kind = Kind::boolean, v.truth = true;
    } else if (take("false")) {
      v.kind = Kind::boolean;
    } else if (!take("null")) {
      numeral(v);
    }
    return v;
  }
  template <class F>
  void series(char open, char close, F item) {
    take({&open, 1});
    if (take({&close, 1})) return;
    do item();
    while (take(","));
    if (!take({&close, 1})) fail("',' or the closing bracket");
  }
  void numeral(Json& v) {
    size_t end = in.find_first_not_of("+-.0123456789eE", at);
    v.text = in.substr(at, end == in.npos ? in.npos : end - at);
    char* stop = nullptr;
    v.number = std::strtod(v.text.c_str(), &stop);
    if (v.text.empty() || *stop) fail("a value");
    v.kind = Kind::number, at += v.text.size();
  }
  std::string string() {
    std::string out;
    for (++at; at < in.size() && in[at] != '"'; ++at) {
      if (in[at] != '\\') {
        out += in[at];
      } else if (++at < in.size()) {
        escape(out);
      }
    }
    if (at++ >= in.size()) fail("the closing quote");
    return out;
  }
  void escape(std::string& out) {
    switch (in[at]) {
      case 'n': out += '\n'; return;
      case 't': out += '\t'; return;
      case 'r': out += '\r'; return;
      case 'b': out += '\b'; return;
      case 'f': out += '\f'; return;
      case 'u': break;
      default: out += in[at]; return;
    }
    if (at + 4 >= in.size()) fail("four hex digits");
    unsigned long code = std::strtoul(std::string(in.substr(at + 1, 4)).c_str(), nullptr, 16);
    at += 4;
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    } else {
      out += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
              static_cast<char>(0x80 | (code & 63))};
    }
  }
};

inline Json Json::parse(std::string_view text) {
  JsonReader reader{text, 0};
  Json value = reader.value();
  reader.blanks();
  if (reader.at != text.size()) reader.fail("the end of the text");
  return value;
}

}  // namespace tg::testing
