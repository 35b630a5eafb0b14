#include "plugin/library.h"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include <dlfcn.h>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include "plugin/containment.h"
#include "plugin/host.h"
#include "plugin/library_file.h"

namespace tidegate::plugin {
namespace {

using EntryPoint = const tg_plugin*();

std::unique_ptr<boost::dll::shared_library> load_now(const std::string& name) {
  // RTLD_NODELETE: nothing is ever unloaded, whoever closes what. rtld_now: a missing symbol fails here, not
  // in a request.
  const auto mode = boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local |
                    static_cast<boost::dll::load_mode::type>(RTLD_NODELETE);
  return std::make_unique<boost::dll::shared_library>(name,
                                                      mode);  // this form has the loader's text in what()
}

Outcome<EntryPoint*> entry_point(const boost::dll::shared_library& library, const std::string& path) {
  if (!library.has("tg_plugin_v1"))
    return Refusal{path +
                       ": expected the entry symbol tg_plugin_v1, found none that is exported; build it with "
                       "tidegate_add_plugin() and TG_EXPORT",
                   ""};
  return &library.get<EntryPoint>("tg_plugin_v1");
}

Outcome<Descriptor> descriptor_of(EntryPoint* entry, const std::string& path, Library::Options options) {
  const tg_plugin* plugin = nullptr;
  try {
    plugin = entry();
  } catch (...) {
    return Refusal{
        path + ": expected a descriptor from tg_plugin_v1(), found an exception; return a constant", ""};
  }
  return read_descriptor(plugin, path, options);
}

}  // namespace

// What the process has mapped. It never shrinks, as the mappings don't.
class LibraryStore {
 public:
  static LibraryStore& instance() {
    static auto& store = *new LibraryStore;
    return store;
  }

  Outcome<const Library*> open(PluginFile file, Library::Options options) {
    const auto known = mapped_.find({file.identity().device, file.identity().inode});
    if (known == mapped_.end()) return load(std::move(file), options);
    Mapped& mapped = known->second;
    const FileIdentity& then = mapped.file;
    if (then.size != file.identity().size || then.content_hash != file.identity().content_hash)
      return Refusal{
          file.path() + ": expected the file that is mapped already, or a new one; found it overwritten in " +
              "place (inode " + std::to_string(then.inode) + ", " + std::to_string(then.size) +
              " bytes then, " + std::to_string(file.identity().size) +
              " now); put a new file there with install or mv, never with cp",
          ""};
    if (mapped.library) return mapped.library.get();
    return describe(mapped, file.path(), options);  // refused before: the options may be others now
  }

 private:
  struct Mapped {
    FileIdentity file;
    std::string opened_as;
    std::unique_ptr<boost::dll::shared_library> handle;
    std::unique_ptr<Library> library;  // null: refused
  };

  Outcome<const Library*> load(PluginFile file, Library::Options options) {
    // The dynamic loader takes a name that it knows for the library that it knows. What comes first is loaded
    // by its path, which core dumps, profilers and $ORIGIN understand.
    const bool by_path = !names_.contains(file.path());
    const std::string name = by_path ? file.path() : file.name_by_descriptor();
    Mapped mapped{.file = file.identity(), .opened_as = name, .handle = nullptr, .library = nullptr};
    try {
      mapped.handle = load_now(name);
    } catch (const std::exception& e) {
      return Refusal{file.path() + ": expected a library that loads, found: " + e.what() +
                         "; link what it needs into it",
                     ""};
    }
    names_.insert(file.path());
    // The loader has opened the path anew: it may have found another file there than the one that was
    // checked.
    if (by_path && !file.still_there())
      return Refusal{file.path() +
                         ": expected the file that was checked, found it replaced while it was being loaded; "
                         "nothing of it is used, reload once the installation is over",
                     ""};
    if (!by_path) file.keep_open();
    const auto key = std::pair(file.identity().device, file.identity().inode);
    return describe(mapped_.emplace(key, std::move(mapped)).first->second, file.path(), options);
  }

  static Outcome<const Library*> describe(Mapped& mapped, const std::string& path, Library::Options options) {
    const auto entry = entry_point(*mapped.handle, path);
    if (!entry) return entry.refusal();
    auto descriptor = descriptor_of(*entry, path, options);
    if (!descriptor) return descriptor.refusal();
    std::unique_ptr<Library> library(new Library);
    library->path_ = path;
    library->opened_as_ = mapped.opened_as;
    library->file_ = mapped.file;
    library->name_ = std::move(descriptor->name);
    library->version_ = std::move(descriptor->version);
    library->vendor_ = std::move(descriptor->vendor);
    library->license_ = std::move(descriptor->license);
    library->components_ = std::move(descriptor->components);
    library->init_ = descriptor->init;
    for (Component& c : library->components_) c.library = library.get();
    mapped.library = std::move(library);
    return mapped.library.get();
  }

  std::map<std::pair<std::uint64_t, std::uint64_t>, Mapped> mapped_;  // by device and inode
  std::set<std::string> names_;                                       // paths that the loader knows
};

Outcome<const Library*> Library::open(const std::string& path, Options options) {
  auto file = PluginFile::inspect(path);
  if (!file) return file.refusal();
  if (!options.environment) return LibraryStore::instance().open(std::move(*file), options);
  const auto containment = Containment::create(
      *options.environment, {std::filesystem::path(path).stem().string(), "", file->path()}, true, {});
  std::optional<Outcome<const Library*>> opened;
  containment->control_call(Function::load, [&] {
    opened = LibraryStore::instance().open(std::move(*file), options);
    return TG_OK;
  });
  if (!opened) return Refusal{path + ": expected memory for one more library, found none", ""};
  return *std::move(opened);
}

const Component* Library::component(std::string_view interface_id, std::string_view name) const noexcept {
  for (const Component& c : components_)
    if (c.name == name && c.interface_id == interface_id) return &c;
  return nullptr;
}

Outcome<bool> Library::initialise(HostEnvironment& environment) const {
  if (init_ && !initialised_) {
    const auto containment = Containment::create(environment, {name_, "", name_}, true, {});
    init_host_ = new InstanceHost(
        environment,
        {.component = name_, .instance = name_, .config_json = "{}", .containment = containment});
    tg_error error{};
    error.size = sizeof error;
    const tg_status status =
        containment->control_call(Function::init, [&] { return init_(init_host_->abi(), &error); });
    if (status == call_threw) set_error(&error, TG_E_INTERNAL, "", "an exception");
    init_host_->end_create();
    if (status != TG_OK)
      init_refusal_.text = path_ + ": expected its init() to succeed, found status " +
                           std::to_string(status == call_threw ? TG_E_INTERNAL : status) + ": " +
                           error_text(error) + "; see the plugin's documentation";
  }
  initialised_ = true;
  if (!init_refusal_.text.empty()) return init_refusal_;
  return true;
}

}  // namespace tidegate::plugin
