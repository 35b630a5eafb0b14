#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <unordered_set>

namespace tidegate::config {
namespace {

constexpr std::size_t max_nodes = 200'000;
constexpr std::size_t max_depth = 64;
constexpr std::string_view standard_tag = "tag:yaml.org,2002:";

using FileName = std::shared_ptr<const std::string>;

// Ends the parse; everything before it is kept.
struct ParseStop {
  Mark where;
  std::string text;
};

// Builds the tree from the parser's events. The events are used instead of YAML::Node because they still show
// duplicate keys, the quoting of scalars and aliases before they are multiplied.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(FileName file, Diagnostics& diagnostics) : file_(std::move(file)), diagnostics_(diagnostics) {}

  Node take_root() { return std::move(root_); }
  const YAML::Mark& last_scalar() const { return last_scalar_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    count(1, at(mark));
    add(Node::scalar("", false, at(mark)), anchor, 1, 0);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw ParseStop{at(mark), "this alias stands inside what it refers to"};
    if (frames_.size() + found->second.depth > max_depth) too_deep(at(mark));
    count(found->second.nodes, at(mark));
    Node copy = found->second.node;
    add(std::move(copy), 0, found->second.nodes, found->second.depth);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!quoted && !tag.empty() && tag != "?" && !is_core(tag, {"int", "float", "bool", "null"}))
      bad_tag(mark, tag);
    count(1, at(mark));
    last_scalar_ = mark;
    add(Node::scalar(value, quoted, at(mark)), anchor, 1, 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    if (!tag.empty() && tag != "?" && !is_core(tag, {"seq"})) bad_tag(mark, tag);
    open(Node::sequence(at(mark)), anchor);
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    if (!tag.empty() && tag != "?" && !is_core(tag, {"map"})) bad_tag(mark, tag);
    open(Node::map(at(mark)), anchor);
  }

  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    std::size_t nodes = 1, depth = 1;
    std::unordered_set<std::string> keys{};
    std::optional<std::string> key{};
    Mark key_mark{};
    bool drop_value = false;  // of a duplicate or unfit key, already reported
  };
  struct Anchored {
    Node node;
    std::size_t nodes, depth;
  };

  Mark at(const YAML::Mark& mark) const {
    return {file_, static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)};
  }

  static bool is_core(std::string_view tag, std::initializer_list<std::string_view> names) {
    return tag.starts_with(standard_tag) &&
           std::find(names.begin(), names.end(), tag.substr(standard_tag.size())) != names.end();
  }

  void bad_tag(const YAML::Mark& mark, const std::string& tag) {
    diagnostics_.error(at(mark), "", "the tag '" + tag + "' does not fit here; leave it out");
  }

  [[noreturn]] static void too_deep(Mark where) {
    throw ParseStop{std::move(where), "nested more than " + std::to_string(max_depth) + " deep; flatten it"};
  }

  // Every value that stands in the tree is counted, an alias with all it brings.
  void count(std::size_t nodes, const Mark& where) {
    placed_ += nodes;
    if (placed_ > max_nodes)
      throw ParseStop{where, "more than " + std::to_string(max_nodes) + " values, aliases counted in full; " +
                                 "split the file or use fewer aliases"};
  }

  void open(Node node, YAML::anchor_t anchor) {
    count(1, node.mark());
    if (frames_.size() >= max_depth) too_deep(node.mark());
    frames_.push_back({.node = std::move(node), .anchor = anchor});
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    add(std::move(frame.node), frame.anchor, frame.nodes, frame.depth);
  }

  // `nodes` and `depth` of the value as it stands: they bound what aliases can multiply.
  void add(Node value, YAML::anchor_t anchor, std::size_t nodes, std::size_t depth) {
    if (anchor != 0) anchors_.insert_or_assign(anchor, Anchored{value, nodes, depth});
    if (frames_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = frames_.back();
    frame.nodes += nodes;
    frame.depth = std::max(frame.depth, depth + 1);
    if (frame.node.is_sequence()) {
      frame.node.items().push_back(std::move(value));
    } else if (!frame.key) {
      take_key(frame, value);
    } else {
      take_value(frame, std::move(value));
    }
  }

  void take_key(Frame& frame, const Node& key) {
    frame.key = key.text();
    frame.key_mark = key.mark();
    frame.drop_value = true;
    if (!key.is_scalar() || key.is_null()) {
      diagnostics_.error(key.mark(), "", "expected a word as key, found " + describe(key));
    } else if (*frame.key == "<<" && !key.quoted()) {
      diagnostics_.error(key.mark(), "", "merge keys (<<) are not supported; write the members out");
    } else if (!frame.keys.insert(*frame.key).second) {
      const auto& entries = frame.node.entries();
      const auto first = std::find_if(entries.begin(), entries.end(),
                                      [&](const Node::Entry& entry) { return entry.key == *frame.key; });
      diagnostics_.error(
          key.mark(), "",
          "the key '" + printable(key) + "' stands twice" +
              (first == entries.end() ? "" : ", first on line " + std::to_string(first->key_mark.line)) +
              "; remove one");
    } else {
      frame.drop_value = false;
    }
  }

  static void take_value(Frame& frame, Node value) {
    // The parser marks an absent value at the next token, which may be lines away: the key is the better
    // place.
    if (value.is_null()) value = Node::scalar("", false, frame.key_mark);
    if (!frame.drop_value)
      frame.node.entries().push_back({std::move(*frame.key), frame.key_mark, std::move(value)});
    frame.key.reset();
  }

  FileName file_;
  Diagnostics& diagnostics_;
  Node root_;
  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  YAML::Mark last_scalar_ = YAML::Mark::null_mark();
  std::size_t placed_ = 0;
};

std::string_view line_at(std::string_view text, std::size_t line) {
  for (; line > 0 && !text.empty(); --line) text.remove_prefix(std::min(text.size(), text.find('\n') + 1));
  return text.substr(0, text.find('\n'));
}

// Position of the first byte that is not UTF-8, or that no text file holds (NUL).
std::optional<std::size_t> first_bad_byte(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                                                             : 0;
    if (length == 0 || lead == 0 || i + length > text.size()) return i;
    for (std::size_t k = 1; k < length; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return i;
    i += length;
  }
  return {};
}

// yaml-cpp ends a quoted text silently at the end of the file. Only the last scalar can have swallowed the
// rest.
bool last_quote_closed(const YAML::Mark& mark, std::string_view text, const FileName& file,
                       Diagnostics& diagnostics) {
  if (mark.line < 0) return true;
  std::string_view rest = text.substr(0, 3) == "\xEF\xBB\xBF" ? text.substr(3) : text;
  for (int line = mark.line; line > 0; --line) rest.remove_prefix(std::min(rest.size(), rest.find('\n') + 1));
  rest.remove_prefix(std::min(rest.size(), static_cast<std::size_t>(mark.column)));
  while (!rest.empty() && (rest[0] == '&' || rest[0] == '!')) {  // anchor and tag stand before the quote
    rest.remove_prefix(std::min(rest.size(), rest.find_first_of(" \n")));
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(" \n")));
  }
  if (rest.empty() || (rest[0] != '"' && rest[0] != '\'')) return true;
  const char quote = rest[0];
  for (std::size_t i = 1; i < rest.size(); ++i) {
    const bool escape = quote == '"' ? rest[i] == '\\' : rest.substr(i, 2) == "''";
    if (escape)
      ++i;
    else if (rest[i] == quote)
      return true;
  }
  diagnostics.error(
      {file, static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)}, "",
      "the quote opened here is never closed");
  return false;
}

// The parser's words for the mistakes people make most, in terms of what to do.
std::string explain(const std::string& message) {
  static const std::map<std::string, std::string> known{
      {"end of map flow not found",
       "a '{' is not closed, or a text holding '{', '[' or ',' lacks its quotes"},
      {"end of sequence flow not found",
       "a '[' is not closed, or a text holding '{', '[' or ',' lacks its quotes"},
      {"end of map not found", "expected another key of the section above; check the indentation"},
      {"end of sequence not found", "expected another '- ' of the list above; check the indentation"},
      {"illegal map value", "a ': ' inside a value; put the value into quotes"},
      {"illegal EOF in scalar", "a quote is opened and never closed"},
      {"unknown token", "a character that cannot begin a value; put the value into quotes"}};
  const auto found = known.find(message);
  return found != known.end() ? found->second : "the YAML cannot be read: " + message;
}

void report_syntax(const YAML::Exception& error, std::string_view text, const FileName& file,
                   Diagnostics& diagnostics) {
  if (error.mark.line < 0) {
    diagnostics.error({file}, "", "the YAML cannot be read: " + error.msg);
    return;
  }
  const auto line = static_cast<std::size_t>(error.mark.line);
  // A tab is often noticed only on the line after it.
  for (std::size_t i = line; i + 2 > line && i <= line; --i) {
    const std::string_view content = line_at(text, i);
    const std::size_t first = content.find_first_not_of(' ');
    if (first != std::string_view::npos && content[first] == '\t') {
      diagnostics.error({file, static_cast<std::uint32_t>(i + 1), static_cast<std::uint32_t>(first + 1)}, "",
                        "a tab in the indentation; YAML wants spaces");
      return;
    }
  }
  diagnostics.error(
      {file, static_cast<std::uint32_t>(line + 1), static_cast<std::uint32_t>(error.mark.column + 1)}, "",
      explain(error.msg));
}

}  // namespace

Node parse_tree(std::string_view text, const std::string& name, Diagnostics& diagnostics) {
  const auto file = std::make_shared<const std::string>(name);
  const Node nothing = Node::map({file, 1, 1});
  if (const auto bad = first_bad_byte(text)) {
    const std::string_view before = text.substr(0, *bad);
    const std::size_t line_start = before.rfind('\n') + 1;
    const auto line = static_cast<std::uint32_t>(std::count(before.begin(), before.end(), '\n') + 1);
    diagnostics.error({file, line, static_cast<std::uint32_t>(*bad - line_start + 1)}, "",
                      "expected UTF-8 text, found another byte; save the file as UTF-8");
    return nothing;
  }
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(file, diagnostics);
  Node root;
  try {
    YAML::Parser parser(stream);
    const bool found = parser.HandleNextDocument(builder);
    // What an open quote swallowed may hold a secret and must not be shown as somebody's value.
    if (!last_quote_closed(builder.last_scalar(), text, file, diagnostics)) return nothing;
    root = builder.take_root();
    TreeBuilder second(file, diagnostics);
    if (found && parser.HandleNextDocument(second))
      diagnostics.error(second.take_root().mark(), "",
                        "a second YAML document (after '---'); keep one a file");
  } catch (const ParseStop& stop) {
    diagnostics.error(stop.where, "", stop.text);
  } catch (const YAML::Exception& error) {
    report_syntax(error, text, file, diagnostics);
  }
  if (root.is_null()) return nothing;
  if (root.is_map()) return root;
  diagnostics.error(root.mark(), "",
                    "expected sections such as 'server:' at the top, found " + describe(root));
  return nothing;
}

}  // namespace tidegate::config
