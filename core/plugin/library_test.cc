#include "plugin/library.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "plugin/test_support.h"

using namespace std::string_literals;

namespace tidegate::plugin {
namespace {

using testing::PluginDir;

std::string refusal_of(const std::string& path, Library::Options options = {}) {
  const auto library = Library::open(path, options);
  return library ? "loaded" : library.refusal().text;
}

TEST_CASE("a good library shows what it offers") {
  const PluginDir dir;
  const auto library = Library::open(dir.install("pair"), {});
  REQUIRE(library);
  CHECK((*library)->name() == "pair");
  CHECK((*library)->version() == "1.2.3");
  CHECK((*library)->license() == "Apache-2.0");
  REQUIRE((*library)->components().size() == 2);
  const Component* twin = (*library)->component(TG_POLICY_INTERFACE, "twin");
  REQUIRE(twin);
  CHECK(twin->library == *library);
  CHECK(twin->kind == Kind::policy);
  CHECK((twin->policy.pick != nullptr));
  CHECK((twin->policy.build == nullptr));
  CHECK((*library)->component(TG_SCORER_INTERFACE, "twin") == nullptr);
}

TEST_CASE("the same file again is the same library") {
  const PluginDir dir;
  const std::string path = dir.install("first");
  CHECK(*Library::open(path, {}) == *Library::open(path, {}));
}

TEST_CASE("libraries that are no good are refused with the exact reason") {
  const PluginDir dir;
  struct Case {
    const char *built, *reason;
  };
  const Case cases[] = {
      {"no_symbol",
       ": expected the entry symbol tg_plugin_v1, found none; this is no Tidegate plugin, or it was built "
       "without tidegate_add_plugin() and TG_EXPORT"},
      {"foreign_entry",
       ": expected the entry symbol tg_plugin_v1, found tg_plugin_v2: it is built for plugin ABI 2, this "
       "gateway speaks 1; rebuild it against an SDK of ABI 1 or use a gateway that speaks 2"},
      {"not_exported",
       ": expected the entry symbol tg_plugin_v1, found none that is exported; build it with "
       "tidegate_add_plugin() and TG_EXPORT"},
      {"wrong_major",
       ": expected plugin ABI 1, found 2 in its descriptor; rebuild it against an SDK of ABI 1 or use a "
       "gateway that speaks 2"},
      {"higher_minor",
       ": expected a plugin that can live with ABI 1.0, found one that needs 1.7 or newer; use a newer "
       "gateway, or lower its abi_minor_min"},
      {"small_descriptor",
       ": expected a descriptor of at least 64 bytes, found 24; set tg_plugin.size to its sizeof"},
      {"null_descriptor", ": expected a descriptor from tg_plugin_v1(), found none; return a constant"},
      {"no_components",
       ": expected at least one component and a stride of at least 48, found 0 with a stride of 48; fill "
       "in the descriptor"},
      {"bad_name",
       ": expected a component name of 1 to 64 characters out of [a-z0-9_.-], found 'Bad Name'; rename it"},
      {"duplicate", ": expected each component once, found 'refused' of tg.policy/1 twice; rename one"},
      {"missing_pick",
       ": component 'refused': expected a tg_policy with the function pick, found none; implement it (it is "
       "mandatory)"},
      {"short_table",
       ": component 'refused': expected a tg_policy with the function pick, found none; implement it (it is "
       "mandatory)"},
      {"scorer_without_score",
       ": component 'refused': expected a tg_scorer with the function score, found none; "
       "implement it (it is mandatory)"},
      {"discovery_without_run",
       ": component 'refused': expected a tg_discovery with the function run, found none; "
       "implement it (it is mandatory)"},
      {"unknown_need",
       ": component 'refused': expected need bits out of 0x7, found bit 9, which this gateway does not "
       "know; use a newer gateway"},
      {"unknown_interface",
       ": component 'refused': expected one of the interfaces tg.policy/1, tg.scorer/1, "
       "tg.discovery/1, found 'tg.oracle/1'; use a gateway that knows it, or a build of the plugin for "
       "this one"},
      {"draft",
       ": component 'refused': expected a stable interface, found the draft 'tg.draft.filter', which may "
       "change "
       "with any release; set plugins.allow_draft to load it all the same"},
  };
  for (const Case& c : cases) {
    const std::string path = dir.install(c.built);
    CHECK(refusal_of(path) == path + c.reason);
  }
}

TEST_CASE("a draft is loaded where drafts are allowed, also after it was refused") {
  const PluginDir dir;
  const std::string path = dir.install("draft");
  CHECK(refusal_of(path) != "loaded");
  const auto library = Library::open(path, {.allow_draft = true});
  REQUIRE(library);
  CHECK((*library)->components()[0].kind == Kind::draft);
  CHECK((*library)->components()[0].draft != nullptr);
}

TEST_CASE("files that are no plugin are refused") {
  const PluginDir dir;
  CHECK(refusal_of(dir.at("absent")) ==
        dir.at("absent") +
            ": expected a plugin library, found no such file; check the name and plugins.path");
  std::ofstream(dir.at("text")) << "tg_plugin_v1";
  CHECK(refusal_of(dir.at("text")) == dir.at("text") +
                                          ": expected an ELF shared library, found a file of another format; "
                                          "build it with tidegate_add_plugin()");
  CHECK(refusal_of(dir.path()) ==
        dir.path() + ": expected a regular file, found something else; name the library itself");
}

TEST_CASE("an ELF file that does not load is refused with the loader's text") {
  const PluginDir dir;
  std::ofstream(dir.at("broken")) << "\x7f"
                                     "ELF and tg_plugin_v1"s
                                  << '\0';
  const std::string text = refusal_of(dir.at("broken"));
  CHECK(text.find(dir.at("broken") + ": expected a library that loads, found: ") == 0);
  CHECK(text.find("; link what it needs into it") != text.npos);
}

TEST_CASE("a file or directory that others can write is refused") {
  const PluginDir dir;
  const std::string path = dir.install("first");
  for (const ::mode_t mode : {0664, 0646}) {
    ::chmod(path.c_str(), mode);
    CHECK(refusal_of(path) == path + ": expected " + path +
                                  " to be writable by its owner only, found mode 0" +
                                  (mode == 0664 ? "664" : "646") + "; run: chmod go-w " + path);
  }
  ::chmod(path.c_str(), 0644);
  ::chmod(dir.path().c_str(), 0770);
  CHECK(refusal_of(path) == path + ": expected " + dir.path() +
                                " to be writable by its owner only, found mode 0770; " + "run: chmod go-w " +
                                dir.path());
  ::chmod(dir.path().c_str(), 0755);
  CHECK(refusal_of(path) == "loaded");
}

TEST_CASE("a directory above, or on the way behind a symbolic link, that others can write is refused") {
  namespace fs = std::filesystem;
  const PluginDir top;
  const std::string inner = top.path() + "/inner";
  const std::string open = top.path() + "/open";
  fs::create_directories(inner + "/plugins");
  fs::create_directory(open);
  const std::string path = inner + "/plugins/first.so";
  fs::rename(top.install("first"), path);
  fs::create_directory_symlink(inner + "/plugins", open + "/link");
  fs::create_directory_symlink(open + "/link", top.path() + "/configured");
  const auto refused = [](const std::string& given, const std::string& directory, const char* mode) {
    return given + ": expected every directory on the way to be writable by its owner only, found " +
           directory + " with mode " + mode + "; run: chmod go-w " + directory;
  };
  ::chmod(inner.c_str(), 0775);
  CHECK(refusal_of(path) == refused(path, inner, "0775"));
  ::chmod(inner.c_str(), 01777);  // the sticky bit leaves our entries to us
  CHECK(refusal_of(path) == "loaded");
  ::chmod(open.c_str(), 0757);
  const std::string configured = top.path() + "/configured/first.so";
  CHECK(refusal_of(path) == "loaded");
  CHECK(refusal_of(configured) == refused(configured, open, "0757"));
  ::chmod(open.c_str(), 0755);
  CHECK(refusal_of(configured) == "loaded");
}

TEST_CASE("a file of another user is refused" * doctest::skip(::geteuid() != 0)) {
  const PluginDir dir;
  const std::string path = dir.install("first");
  REQUIRE(::chown(path.c_str(), 12345, 0) == 0);
  CHECK(refusal_of(path) == path + ": expected " + path +
                                " to be owned by root or by uid 0, found owner uid 12345; " +
                                "chown it or install it as root");
}

TEST_CASE("a replaced file is new code beside the old") {
  const PluginDir dir;
  const auto v1 = Library::open(dir.install("swap_v1", "swap"), {});
  const auto v2 = Library::open(dir.install("swap_v2", "swap"), {});
  const auto v3 = Library::open(dir.install("swap_v3", "swap"), {});
  REQUIRE(v1);
  REQUIRE(v2);
  REQUIRE(v3);
  CHECK((*v1)->version() == "1.0");
  CHECK((*v2)->version() == "2.0");
  CHECK((*v3)->version() == "3.0");
  CHECK(((*v1)->components()[0].policy.pick != (*v2)->components()[0].policy.pick));
  CHECK((*v1)->opened_as() == (*v1)->path());
  CHECK((*v2)->opened_as().find("/proc/" + std::to_string(::getpid()) + "/fd/") == 0);
  CHECK((*v2)->path() == (*v1)->path());
}

TEST_CASE("a file overwritten in place is refused") {
  const PluginDir dir;
  const std::string path = dir.install("first");
  REQUIRE(refusal_of(path) == "loaded");
  struct stat before {};
  ::stat(path.c_str(), &before);
  std::ofstream(path, std::ios::app | std::ios::binary)
      << "more";  // a longer tail: what is mapped stays whole
  CHECK(
      refusal_of(path) ==
      path +
          ": expected the file that is mapped already, or a new one; found it overwritten in place (inode " +
          std::to_string(before.st_ino) + ", " + std::to_string(before.st_size) + " bytes then, " +
          std::to_string(before.st_size + 4) +
          " now); put a new file there with install or mv, never with cp");
  CHECK(refusal_of(dir.install("first")) == "loaded");  // the way out
}

TEST_CASE("a file overwritten in place is refused also when it kept its size and its time") {
  const PluginDir dir;
  const std::string path = dir.install("first");
  REQUIRE(refusal_of(path) == "loaded");
  const auto time = std::filesystem::last_write_time(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-1, std::ios::end);  // the section table: nobody has it mapped
  const char last = static_cast<char>(file.get());
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(last ^ 1));
  file.close();
  std::filesystem::last_write_time(path, time);
  CHECK(refusal_of(path).find("found it overwritten in place") != std::string::npos);
}

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

TEST_CASE("a replaced file that does not load costs no descriptor, however often it is tried") {
  const PluginDir dir;
  const std::string path = dir.install("first");
  REQUIRE(refusal_of(path) == "loaded");
  std::ofstream(dir.at("part")) << "\x7f"
                                   "ELF and tg_plugin_v1"s
                                << '\0';
  std::filesystem::rename(dir.at("part"), path);
  const std::ptrdiff_t before = open_descriptors();
  for (int i = 0; i < 5; ++i)
    CHECK(refusal_of(path).find("expected a library that loads") != std::string::npos);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a file that is replaced while it is being loaded is refused, and the new one taken next time") {
  const PluginDir dir;
  const std::string path = dir.install("exchanged", "first");
  const std::string next = dir.install("first", "next");
  ::setenv("TIDEGATE_TEST_NEW", next.c_str(), 1);
  ::setenv("TIDEGATE_TEST_OLD", path.c_str(), 1);
  CHECK(refusal_of(path) == path +
                                ": expected the file that was checked, found it replaced while it was being "
                                "loaded; nothing of it is "
                                "used, reload once the installation is over");
  ::unsetenv("TIDEGATE_TEST_NEW");
  CHECK(refusal_of(path) == "loaded");
}

TEST_CASE("a file that was only touched is the same library") {
  const PluginDir dir;
  const std::string path = dir.install("first");
  const auto before = Library::open(path, {});
  std::filesystem::last_write_time(path,
                                   std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  CHECK(*Library::open(path, {}) == *before);
}

TEST_CASE("a table of a newer minor is longer than ours, and read as far as we know it") {
  struct Longer {
    tg_policy known;
    void (*unknown)();
  };
  const PluginDir dir;
  const tg_policy good = (*Library::open(dir.install("first"), {}))->components()[0].policy;
  Longer longer{good, nullptr};
  longer.known.size = sizeof longer;
  tg_component component{};
  component.size = sizeof component + 16;
  component.interface_id = TG_POLICY_INTERFACE;
  component.name = "longer";
  component.functions = &longer;
  tg_plugin plugin{};
  plugin.size = sizeof plugin + 8;
  plugin.abi_major = 1;
  plugin.name = "longer";
  plugin.components = &component;
  plugin.component_count = 1;
  plugin.component_stride = sizeof component + 16;
  const auto descriptor = read_descriptor(&plugin, "longer.so", {});
  REQUIRE(descriptor);
  CHECK(((*descriptor).components[0].policy.size == sizeof(tg_policy)));
  CHECK(((*descriptor).components[0].policy.pick == good.pick));
}

}  // namespace
}  // namespace tidegate::plugin
