#include "config/node.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <tuple>

#include "config/values.h"

namespace tidegate::config {
namespace {

const Node empty_node{};

nlohmann::ordered_json scalar_json(const Node& node) {
  const std::string& text = node.text();
  switch (node.scalar_type()) {
    case ScalarType::null: return nullptr;
    case ScalarType::boolean: return text[0] == 't' || text[0] == 'T';
    case ScalarType::integer:
      if (const auto value = parse_integer(text)) return *value;
      {
        std::uint64_t large = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), large);
        if (error == std::errc() && end == text.data() + text.size()) return large;
      }
      return nlohmann::ordered_json::parse(text, nullptr, false).is_number()
                 ? nlohmann::ordered_json::parse(text, nullptr, false)
                 : nlohmann::ordered_json(text);
    case ScalarType::number: return parse_number(text).value_or(0);
    case ScalarType::string: break;
  }
  return text;
}

nlohmann::ordered_json json_of(const Node& node) {
  if (node.is_scalar()) return scalar_json(node);
  if (node.is_sequence()) {
    auto list = nlohmann::ordered_json::array();
    for (const auto& item : node.items()) list.push_back(json_of(item));
    return list;
  }
  auto object = nlohmann::ordered_json::object();
  for (const auto& entry : node.entries()) object[entry.key] = json_of(entry.value);
  return object;
}

// "http://user:pass@host/" -> "http://***@host/".
std::string without_userinfo(std::string text) {
  const std::size_t scheme = text.find("://");
  if (scheme == std::string::npos) return text;
  const std::size_t begin = scheme + 3;
  const std::size_t at = text.substr(0, text.find_first_of("/?#", begin)).rfind('@');
  if (at == std::string::npos || at < begin) return text;
  return text.replace(begin, at - begin, "***");
}

bool is_integer_text(std::string_view text) {
  const auto all_of = [](std::string_view s, auto&& test) {
    return !s.empty() && std::all_of(s.begin(), s.end(), test);
  };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.starts_with("0x"))
    return all_of(text.substr(2),
                  [&](char c) { return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); });
  if (text.starts_with("0o")) return all_of(text.substr(2), [](char c) { return c >= '0' && c <= '7'; });
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return all_of(text, digit);
}

template <std::size_t n>
bool one_of(std::string_view text, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

}  // namespace

std::string Mark::to_string() const {
  if (!file) return {};
  if (line == 0) return *file;
  return *file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

Node Node::scalar(std::string text, bool quoted, Mark mark) {
  Node node;
  node.kind_ = Kind::scalar;
  node.quoted_ = quoted;
  node.text_ = std::move(text);
  node.mark_ = std::move(mark);
  return node;
}

Node Node::sequence(Mark mark) {
  Node node;
  node.kind_ = Kind::sequence;
  node.mark_ = std::move(mark);
  return node;
}

Node Node::map(Mark mark) {
  Node node;
  node.kind_ = Kind::map;
  node.mark_ = std::move(mark);
  return node;
}

bool Node::is_null() const {
  return kind_ == Kind::none || (kind_ == Kind::scalar && scalar_type() == ScalarType::null);
}

ScalarType Node::scalar_type() const {
  // An empty expansion is an empty string: `token: ${TOKEN:-}` must not turn into "nothing given".
  if (quoted_ || (text_.empty() && from_reference())) return ScalarType::string;
  return resolve_core(text_);
}

void Node::set_expanded(std::string expanded) {
  if (reference_.empty()) reference_ = std::move(text_);
  text_ = std::move(expanded);
}

const Node* Node::find(std::string_view key) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == entries_.end() ? nullptr : &found->value;
}

const Node& Node::operator[](std::string_view key) const {
  const Node* found = find(key);
  return found != nullptr ? *found : empty_node;
}

const Node* Node::at_pointer(std::string_view pointer) const {
  const Node* node = this;
  while (node != nullptr && !pointer.empty()) {
    if (pointer[0] != '/') return nullptr;
    pointer.remove_prefix(1);
    const std::string_view token = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(token.size());
    std::string key;
    for (std::size_t i = 0; i < token.size(); ++i) {
      const bool escape = token[i] == '~' && i + 1 < token.size();
      key += escape ? (token[++i] == '1' ? '/' : '~') : token[i];
    }
    if (node->is_sequence()) {
      const auto index = parse_integer(key);
      const bool inside = index && *index >= 0 && static_cast<std::size_t>(*index) < node->items_.size();
      node = inside ? &node->items_[static_cast<std::size_t>(*index)] : nullptr;
    } else {
      node = node->find(key);
    }
  }
  return node;
}

ScalarType resolve_core(std::string_view plain) {
  static constexpr std::array<std::string_view, 5> nulls{"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 6> booleans{"true",  "True",  "TRUE",
                                                            "false", "False", "FALSE"};
  if (one_of(plain, nulls)) return ScalarType::null;
  if (one_of(plain, booleans)) return ScalarType::boolean;
  if (is_integer_text(plain)) return ScalarType::integer;
  return parse_number(plain) ? ScalarType::number : ScalarType::string;
}

std::string to_json(const Node& node) {
  // A value out of the environment may hold bytes that are not UTF-8; JSON cannot, so they are replaced.
  return json_of(node).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string printable(const Node& scalar) {
  static constexpr std::string_view hex = "0123456789abcdef";
  std::string out;
  for (const char c : without_userinfo(scalar.shown())) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f)
      out += c;
    else
      out.append("\\x").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
  }
  return out;
}

std::string describe(const Node& node, bool secret) {
  if (node.is_map()) return "a map";
  if (node.is_sequence()) return "a list";
  if (node.is_null()) return "nothing";
  if (secret) return "a hidden value";
  std::string text = printable(node);
  if (text.size() > 64) text = text.substr(0, 61) + "...";
  if (node.from_reference()) return "the value of '" + text + "'";
  switch (node.scalar_type()) {
    case ScalarType::boolean: return "the boolean " + text;
    case ScalarType::integer:
    case ScalarType::number: return "the number " + text;
    default: return "the string '" + text + "'";
  }
}

std::string yaml_text(const std::string& value) {
  constexpr std::string_view safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:-";
  const bool plain = value.find_first_not_of(safe) == std::string::npos && !value.starts_with('-') &&
                     !value.ends_with(':') && resolve_core(value) == ScalarType::string;
  return plain ? value : to_json(Node::scalar(value, true, {}));
}

bool names_secret(std::string_view key) {
  static constexpr std::array<std::string_view, 13> endings{
      "token",       "password",   "passwd",        "passphrase", "secret",      "api_key", "apikey",
      "private_key", "access_key", "authorization", "credential", "credentials", "cookie"};
  std::string folded(key);
  for (char& c : folded) c = c == '-' ? '_' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return folded == "key" || std::any_of(endings.begin(), endings.end(),
                                        [&](std::string_view end) { return folded.ends_with(end); });
}

namespace {

std::string line_of(const Mark& where, std::string_view path, std::string_view text) {
  std::string line = where.to_string();
  if (!line.empty()) line += ": ";
  if (!path.empty()) line.append(path).append(": ");
  return line.append(text);
}

}  // namespace

void Diagnostics::error(const Mark& where, std::string_view path, std::string_view text) {
  errors_.push_back({where, line_of(where, path, text)});
}

void Diagnostics::warning(const Mark& where, std::string_view path, std::string_view text) {
  warnings_.push_back({where, line_of(where, path, text)});
}

void Diagnostics::append(const Diagnostics& other) {
  errors_.insert(errors_.end(), other.errors_.begin(), other.errors_.end());
  warnings_.insert(warnings_.end(), other.warnings_.begin(), other.warnings_.end());
}

std::vector<std::string> Diagnostics::errors() const { return sorted(errors_); }

std::vector<std::string> Diagnostics::warnings() const { return sorted(warnings_); }

std::vector<std::string> Diagnostics::sorted(const std::vector<Item>& items) {
  std::vector<const Item*> order;
  for (const auto& item : items) order.push_back(&item);
  const auto place = [](const Item* item) {
    return std::make_tuple(item->where.file ? std::string_view(*item->where.file) : std::string_view(),
                           item->where.line, item->where.column);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](const Item* a, const Item* b) { return place(a) < place(b); });
  std::vector<std::string> lines;
  for (const Item* item : order) lines.push_back(item->line);
  return lines;
}

}  // namespace tidegate::config
