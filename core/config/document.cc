#include "config/document.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "config/yaml_tree.h"

namespace tidegate::config {
namespace {

constexpr std::size_t max_file_bytes = 16u << 20;

// Reads at most `limit` bytes; one byte more is reported as too large.
std::string read_file(const std::string& path, std::size_t limit, std::string& error) {
  const int descriptor =
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not block the start
  std::string content;
  ssize_t count = descriptor < 0 ? -1 : 1;
  char block[16384];
  while (count > 0 && content.size() <= limit) {
    count = ::read(descriptor, block, sizeof block);
    if (count > 0) content.append(block, static_cast<std::size_t>(count));
  }
  if (count < 0) error = std::strerror(errno);
  if (content.size() > limit) error = "larger than " + std::to_string(limit >> 10) + " KiB";
  if (descriptor >= 0) ::close(descriptor);
  return content;
}

Node load_tree(const std::string& path, Diagnostics& diagnostics) {
  std::string error;
  const std::string text = read_file(path, max_file_bytes, error);
  if (error.empty()) return parse_tree(text, path, diagnostics);
  const auto file = std::make_shared<const std::string>(path);
  diagnostics.error({file}, "", "cannot be read: " + error + "; check the path and its permissions");
  return Node::map({file});
}

std::vector<std::string> extra_files(const std::string& path, Diagnostics& diagnostics) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(path).parent_path() / "conf.d";
  std::vector<std::string> files;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  if (error) {
    if (error != std::errc::no_such_file_or_directory)
      diagnostics.error({std::make_shared<const std::string>(folder.string())}, "",
                        "cannot be listed: " + error.message() + "; check its permissions");
    return files;
  }
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& file = entry->path();
    if (file.filename().string().starts_with('.')) continue;
    if (file.extension() == ".yaml") files.push_back(file.string());
    if (file.extension() == ".yml")
      diagnostics.warning({std::make_shared<const std::string>(file.string())}, "",
                          "not read: only *.yaml is; rename it");
  }
  std::sort(files.begin(), files.end());
  return files;
}

void merge_values(Node& base, Node later, const std::string& path, Diagnostics& diagnostics) {
  if (later.is_null()) return;
  if (base.is_map() && later.is_map()) {
    for (auto& entry : later.entries()) {
      const std::string inner = path.empty() ? entry.key : path + "." + entry.key;
      auto& entries = base.entries();
      const auto found = std::find_if(entries.begin(), entries.end(),
                                      [&](const Node::Entry& e) { return e.key == entry.key; });
      if (found == entries.end())
        entries.push_back(std::move(entry));
      else
        merge_values(found->value, std::move(entry.value), inner, diagnostics);
    }
  } else if (base.is_sequence() && later.is_sequence()) {
    auto& items = base.items();
    const auto position = path == "routes" ? items.begin() : items.end();
    items.insert(position, std::make_move_iterator(later.items().begin()),
                 std::make_move_iterator(later.items().end()));
  } else if (base.is_null() || (base.is_scalar() && later.is_scalar())) {
    base = std::move(later);
  } else {
    const auto kind = [](const Node& node) { return node.is_scalar() ? "a scalar" : describe(node); };
    diagnostics.error(
        later.mark(), path,
        "expected " + kind(base) + " as at " + base.mark().to_string() + ", found " + kind(later));
  }
}

}  // namespace

void merge_documents(Node& base, Node later, Diagnostics& diagnostics) {
  merge_values(base, std::move(later), "", diagnostics);
}

Document parse_document(std::string_view text, const std::string& name) {
  Document document;
  document.root = parse_tree(text, name, document.diagnostics);
  expand_environment(document.root, document.diagnostics);
  return document;
}

Document load_document(const std::string& path) {
  Document document;
  document.root = load_tree(path, document.diagnostics);
  for (const auto& extra : extra_files(path, document.diagnostics))
    merge_documents(document.root, load_tree(extra, document.diagnostics), document.diagnostics);
  expand_environment(document.root, document.diagnostics);  // last: what is overridden need not be set
  return document;
}

SecretResult resolve_secret(std::string_view reference) {
  constexpr std::string_view scheme = "file:";
  if (!reference.starts_with(scheme)) return {.ok = true, .value = std::string(reference), .error = {}};
  const std::string path(reference.substr(scheme.size()));
  if (!path.starts_with('/'))
    return {.error = "expected an absolute path after 'file:', such as file:/etc/tidegate/token"};
  std::string error;
  std::string value = read_file(path, 64u << 10, error);
  if (!error.empty())
    return {.error =
                "the secret file " + path + " cannot be read: " + error + "; check path and permissions"};
  if (value.ends_with('\n')) value.pop_back();
  if (value.ends_with('\r')) value.pop_back();
  if (value.empty()) return {.error = "the secret file " + path + " is empty; put the secret into it"};
  return {.ok = true, .value = std::move(value), .error = {}};
}

}  // namespace tidegate::config
