// What: a configuration value as written: a scalar, list or map that remembers file, line and column of every
// key and
//       value, and the text it had before ${ENV} was filled in. Also Diagnostics, the collector of errors and
//       warnings.
// Threads: plain values; no shared state. Control plane only.
// Ownership: a Node owns its children; the file's name is shared by all nodes of a file.
// Errors: none are thrown; a missing child is the empty node. Printing uses shown(), never text(): what came
// from the
//         environment is shown as its reference, so that errors and listings cannot leak it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tidegate::config {

// A place in a file; line and column count from 1, 0 means "nowhere in a file".
struct Mark {
  std::shared_ptr<const std::string> file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;

  // "tidegate.yaml:12:5"; only the name without a line; "" without a file.
  std::string to_string() const;
};

// What a plain (unquoted) scalar is by the YAML 1.2 core rules: `no`, `on` and `yes` are strings.
enum class ScalarType : std::uint8_t { null, boolean, integer, number, string };

class Node {
 public:
  enum class Kind : std::uint8_t { none, scalar, sequence, map };
  struct Entry;

  Node() = default;
  static Node scalar(std::string text, bool quoted, Mark mark);
  static Node sequence(Mark mark);
  static Node map(Mark mark);

  Kind kind() const { return kind_; }
  bool is_map() const { return kind_ == Kind::map; }
  bool is_sequence() const { return kind_ == Kind::sequence; }
  bool is_scalar() const { return kind_ == Kind::scalar; }
  bool is_null() const;  // absent, or a plain empty, `~` or `null`
  const Mark& mark() const { return mark_; }

  // Scalars.
  const std::string& text() const { return text_; }  // with ${ENV} filled in
  const std::string& shown() const { return reference_.empty() ? text_ : reference_; }  // fit to be printed
  bool quoted() const { return quoted_; }
  bool from_reference() const { return !reference_.empty(); }
  ScalarType scalar_type() const;
  void set_expanded(std::string expanded);  // keeps the text until now as what is shown

  // Lists and maps; both keep the order of the file.
  const std::vector<Node>& items() const { return items_; }
  std::vector<Node>& items() { return items_; }
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& entries() { return entries_; }
  const Node* find(std::string_view key) const;
  const Node& operator[](std::string_view key) const;  // the empty node when absent
  const Node* at_pointer(std::string_view json_pointer) const;

 private:
  Kind kind_ = Kind::none;
  bool quoted_ = false;
  std::string text_;
  std::string reference_;
  Mark mark_;
  std::vector<Node> items_;
  std::vector<Entry> entries_;
};

struct Node::Entry {
  std::string key;
  Mark key_mark;
  Node value;
};

// The scalar's type by the core rules; a quoted one is always a string. `.inf` and `.nan` are strings: JSON
// has none.
ScalarType resolve_core(std::string_view plain);

// JSON text of a node, scalars typed by the core rules; the empty node gives "{}". Contains expanded values:
// for plugins, not for people.
std::string to_json(const Node& node);

// "a string", "a map", "the number 3"...: what was found, fit to be printed; a secret's text is left out.
std::string describe(const Node& node, bool secret = false);

// The scalar as it may be shown to people: what came from the environment as its reference, a URL without its
// user and password, control characters escaped.
std::string printable(const Node& scalar);

// A text as a YAML scalar that reads back as the same string: plain where that is safe, else in double
// quotes.
std::string yaml_text(const std::string& value);

// True for a key whose value is hidden wherever plugins' sections are shown: token, password, secret,
// api_key, ...
bool names_secret(std::string_view key);

// Errors and warnings, each ready to print: "tidegate.yaml:12:5: server.thread: unknown key ...".
class Diagnostics {
 public:
  void error(const Mark& where, std::string_view path, std::string_view text);
  void warning(const Mark& where, std::string_view path, std::string_view text);
  bool ok() const { return errors_.empty(); }
  std::vector<std::string> errors() const;    // by file, line, column
  std::vector<std::string> warnings() const;  // likewise
  void append(const Diagnostics& other);

 private:
  struct Item {
    Mark where;
    std::string line;
  };
  static std::vector<std::string> sorted(const std::vector<Item>& items);
  std::vector<Item> errors_;
  std::vector<Item> warnings_;
};

}  // namespace tidegate::config
