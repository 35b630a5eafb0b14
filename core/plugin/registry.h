// What: from a name in the configuration to a component. `<dir>/<name>.so` over the search path;
//   when no file has that name, the library among all files of the path whose component has it; a
//   name with a slash is the exact path of a library. A file hides files of the same name in later
//   directories. Looking by component name loads every library of the path (a file without the
//   entry symbol is told apart by a look into it, and is not loaded), once after each rescan(). Of
//   two libraries with one component name the later one in the path's order is refused to such a
//   look, whichever was opened first; a file's own name says which one is meant, so a look by it
//   is never refused for that.
// Threads: [control].
// Ownership: owns the list of what was seen; libraries and components live for ever. `environment`
//   outlives it.
// Errors: Refusal. A library that is refused is kept in list() with the reason.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/library.h"

namespace tidegate::plugin {

struct LibraryState {
  std::string path;
  const Library* library = nullptr;  // null: refused
  std::string refused;
  bool by_exact_path = false;
  const Library* loaded = nullptr;  // also when `refused` for its names
  bool started = false;             // its init() was called
  // Another library was loaded from this path before; it serves its old instances on.
  bool replaced() const { return library && library->opened_as() != library->path(); }
};

class Registry {
 public:
  struct Options {
    std::vector<std::string> path;  // plugins.path, in order
    std::string packaged;           // searched last; empty: none
    bool allow_draft = false;
  };
  // environment: for the libraries' init(); null: init() is not called (listing only).
  explicit Registry(Options, HostEnvironment* environment = nullptr);

  Outcome<const Component*> find(std::string_view interface_id, std::string_view name);
  // What was opened since the last rescan(), or refused, in the order of opening. Loads nothing.
  const std::deque<LibraryState>& known() const noexcept { return states_; }
  // The same of everything on the search path: loads it.
  const std::deque<LibraryState>& list();
  // Forgets what was seen, so that new, replaced and removed files are noticed by the next look-up.
  void rescan();
  void rescan(Options);
  // Searches there from the next rescan() on; what was seen, and why it was refused, stays to be told.
  void search(Options options) { options_ = std::move(options); }

 private:
  LibraryState& open(const std::string& path, bool by_exact_path);
  void start(LibraryState&);
  static std::string clash(const Library&, const std::vector<LibraryState*>& earlier);
  Outcome<const Component*> find_in_file(const std::string& path, std::string_view interface_id,
                                         std::string_view name);
  Outcome<const Component*> find_exact(const std::string& path, std::string_view interface_id);
  std::vector<std::string> directories() const;
  void scan();

  Options options_;
  HostEnvironment* environment_;
  bool scanned_ = false;
  std::deque<LibraryState> states_;  // deque: references into it stay good
};

}  // namespace tidegate::plugin
