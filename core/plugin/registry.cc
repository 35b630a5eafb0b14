#include "plugin/registry.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace tidegate::plugin {
namespace {

std::string offers(const Library& library) {
  std::string text;
  for (const Component& c : library.components())
    text += (text.empty() ? "" : ", ") + c.interface_id + " '" + c.name + "'";
  return text;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& p : parts) text += (text.empty() ? "" : ", ") + p;
  return text.empty() ? "nothing" : text;
}

}  // namespace

Registry::Registry(Options options, HostEnvironment* environment)
    : options_(std::move(options)), environment_(environment) {}

void Registry::rescan() {
  states_.clear();
  scanned_ = false;
}

void Registry::rescan(Options options) {
  options_ = std::move(options);
  rescan();
}

std::vector<std::string> Registry::directories() const {
  std::vector<std::string> all = options_.path;
  if (!options_.packaged.empty()) all.push_back(options_.packaged);
  return all;
}

// Who has a component of the same name already; empty: nobody.
std::string Registry::clash(const Library& library, const std::vector<LibraryState*>& earlier) {
  for (const LibraryState* other : earlier) {
    if (!other->library || other->library == &library) continue;
    for (const Component& c : library.components())
      if (other->library->component(c.interface_id, c.name))
        return library.path() + ": expected component names that no other library has, found '" + c.name +
               "' of " + c.interface_id + ", which " + other->path +
               " offers too; remove one of the two files or rename";
  }
  return {};
}

LibraryState& Registry::open(const std::string& path, bool by_exact_path) {
  for (LibraryState& s : states_)
    if (s.path == path && s.by_exact_path == by_exact_path) return s;
  LibraryState& state = states_.emplace_back();
  state.path = path;
  state.by_exact_path = by_exact_path;
  const auto library =
      Library::open(path, {.allow_draft = options_.allow_draft, .environment = environment_});
  if (library)
    state.loaded = state.library = *library;
  else
    state.refused = library.refusal().text;
  return state;
}

void Registry::start(LibraryState& state) {
  if (!state.loaded || !environment_ || std::exchange(state.started, true)) return;
  const auto initialised = state.loaded->initialise(*environment_);
  if (initialised) return;
  state.refused = initialised.refusal().text;
  state.library = state.loaded = nullptr;
}

Outcome<const Component*> Registry::find(std::string_view interface_id, std::string_view name) {
  if (name.find('/') != name.npos) return find_exact(std::string(name), interface_id);
  for (const std::string& directory : directories()) {
    const std::string path = directory + "/" + std::string(name) + ".so";
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return find_in_file(path, interface_id, name);
  }
  scan();
  std::vector<std::string> known;
  std::vector<std::string> refused;
  for (const LibraryState& s : states_) {
    if (s.by_exact_path) continue;
    if (!s.library) {
      refused.push_back(std::filesystem::path(s.path).filename());
      continue;
    }
    if (const Component* found = s.library->component(interface_id, name)) return found;
    for (const Component& c : s.library->components())
      if (c.interface_id == interface_id) known.push_back(c.name);
  }
  return Refusal{"plugin '" + std::string(name) + "': expected " + std::string(name) +
                     ".so or a library with a " + std::string(interface_id) + " component of that name in " +
                     joined(directories()) + "; found the components " + joined(known) +
                     (refused.empty() ? "" : " and the refused files " + joined(refused)) +
                     "; check the name and plugins.path",
                 ""};
}

Outcome<const Component*> Registry::find_in_file(const std::string& path, std::string_view interface_id,
                                                 std::string_view name) {
  LibraryState& state = open(path, false);
  start(state);
  if (!state.loaded) return Refusal{state.refused, ""};
  if (const Component* found = state.loaded->component(interface_id, name)) return found;
  return Refusal{path + ": expected a " + std::string(interface_id) + " component '" + std::string(name) +
                     "', found " + offers(*state.loaded) + "; name one of those or rename the file",
                 ""};
}

Outcome<const Component*> Registry::find_exact(const std::string& path, std::string_view interface_id) {
  LibraryState& state = open(path, true);
  start(state);
  if (!state.library) return Refusal{state.refused, ""};
  const Component* only = nullptr;
  for (const Component& c : state.library->components()) {
    if (c.interface_id != interface_id) continue;
    if (c.name == std::filesystem::path(path).stem().string()) return &c;
    if (only)
      return Refusal{path + ": expected one " + std::string(interface_id) + " component, found " +
                         offers(*state.library) +
                         "; put the file on plugins.path and use the component's name",
                     ""};
    only = &c;
  }
  if (only) return only;
  return Refusal{path + ": expected a " + std::string(interface_id) + " component, found " +
                     offers(*state.library) + "; name another library",
                 ""};
}

void Registry::scan() {
  if (std::exchange(scanned_, true)) return;
  std::vector<std::string> seen;
  std::vector<LibraryState*> in_order;
  for (const std::string& directory : directories()) {
    std::error_code ignored;  // a directory that is not there has no plugins
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
      if (entry.path().extension() == ".so") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      if (std::find(seen.begin(), seen.end(), file.filename().string()) != seen.end()) continue;
      seen.push_back(file.filename().string());
      LibraryState& state = open(directory + "/" + file.filename().string(), false);
      if (state.library) state.refused = clash(*state.library, in_order);
      if (!state.refused.empty()) state.library = nullptr;
      if (state.library) start(state);
      in_order.push_back(&state);
    }
  }
}

const std::deque<LibraryState>& Registry::list() {
  scan();
  return states_;
}

}  // namespace tidegate::plugin
