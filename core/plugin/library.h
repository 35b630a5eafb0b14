// What: one plugin library, loaded and checked, with copies of its function tables that are of our
//   own size. A replaced file (a new inode at a path that was loaded before) is another Library
//   beside the old one; a file overwritten in place is refused.
// Threads: [control].
// Ownership: libraries live as long as the process; nothing is ever unloaded, so pointers stay
//   good.
// Errors: a Refusal with the path, what was expected, what was found and what to do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tidegate/plugin.h>

#include "plugin/outcome.h"

namespace tidegate::plugin {

class HostEnvironment;
class InstanceHost;
class Library;

enum class Kind { policy, scorer, discovery, draft };

// One thing that a library offers. Of the tables only the one of its kind is filled; what the plugin's own
// table did not reach is null. A scorer's functions that a policy has too (destroy, build, release,
// complete) stand in `policy` as well: nodes call them there.
struct Component {
  const Library* library = nullptr;
  Kind kind = Kind::policy;
  std::string interface_id, name, summary;
  std::string config_schema;  // empty: takes no configuration
  std::uint32_t flags = 0;
  tg_policy policy{};
  tg_scorer scorer{};
  tg_discovery discovery{};
  const void* draft = nullptr;
};

// Which file a library came from, and what was in it then.
struct FileIdentity {
  std::uint64_t device = 0, inode = 0, size = 0, content_hash = 0;
  std::int64_t modified_ns = 0;
};

class Library {
 public:
  struct Options {
    bool allow_draft = false;  // load components of "tg.draft.*"
    // For the watchdog to see code that runs while it is being loaded; null: not seen.
    HostEnvironment* environment = nullptr;
  };
  // The same unchanged file gives the same Library again.
  static Outcome<const Library*> open(const std::string& path, Options);

  const std::string& path() const noexcept { return path_; }
  const std::string& opened_as() const noexcept {
    return opened_as_;
  }  // the name given to the dynamic loader
  const FileIdentity& file() const noexcept { return file_; }
  const std::string& name() const noexcept { return name_; }
  const std::string& version() const noexcept { return version_; }
  const std::string& vendor() const noexcept { return vendor_; }
  const std::string& license() const noexcept { return license_; }
  const std::vector<Component>& components() const noexcept { return components_; }

  const Component* component(std::string_view interface_id, std::string_view name) const noexcept;
  // Runs the library's init() the first time; later calls give the same answer.
  Outcome<bool> initialise(HostEnvironment&) const;

 private:
  Library() = default;
  friend class LibraryStore;

  std::string path_, opened_as_, name_, version_, vendor_, license_;
  FileIdentity file_;
  std::vector<Component> components_;
  tg_status (*init_)(const tg_host*, tg_error*) = nullptr;
  mutable bool initialised_ = false;
  mutable Refusal init_refusal_;
  mutable InstanceHost* init_host_ = nullptr;  // for ever, as the library
};

// Checks a descriptor and copies its components; `path` is for the text of refusals. Apart for tests.
struct Descriptor {
  std::string name, version, vendor, license;
  std::vector<Component> components;
  tg_status (*init)(const tg_host*, tg_error*) = nullptr;
};
Outcome<Descriptor> read_descriptor(const tg_plugin*, const std::string& path, Library::Options);

// The need bits (lower half of the flags) that components of a kind may set.
std::uint32_t known_needs(Kind) noexcept;

}  // namespace tidegate::plugin
