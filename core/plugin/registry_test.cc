#include "plugin/registry.h"

#include <map>

#include <doctest/doctest.h>

#include "plugin/test_support.h"

namespace tidegate::plugin {
namespace {

using testing::FakeEnvironment;
using testing::PluginDir;

std::string path_of(const Outcome<const Component*>& found) {
  return found ? (*found)->library->path() : found.refusal().text;
}

TEST_CASE("a name is a file on the search path, the first directory before the packaged one") {
  const PluginDir local;
  const PluginDir packaged;
  packaged.install("first");
  Registry registry({.path = {local.path()}, .packaged = packaged.path()});
  CHECK(path_of(registry.find(TG_POLICY_INTERFACE, "first")) == packaged.at("first"));
  local.install("first");
  registry.rescan();
  CHECK(path_of(registry.find(TG_POLICY_INTERFACE, "first")) == local.at("first"));
}

TEST_CASE("a name without a file is a component of any library on the path") {
  const PluginDir dir;
  dir.install("pair");
  Registry registry({.path = {dir.path()}});
  const auto found = registry.find(TG_POLICY_INTERFACE, "twin");
  REQUIRE(found);
  CHECK((*found)->name == "twin");
}

TEST_CASE("a name with a slash is the exact path, also of a component that the path has") {
  const PluginDir dir;
  const PluginDir elsewhere;
  dir.install("first");
  elsewhere.install("alias");
  Registry registry({.path = {dir.path()}});
  REQUIRE(registry.find(TG_POLICY_INTERFACE, "first"));
  CHECK(path_of(registry.find(TG_POLICY_INTERFACE, elsewhere.at("alias"))) == elsewhere.at("alias"));
  const std::string pair = elsewhere.install("pair", "both");
  CHECK(path_of(registry.find(TG_POLICY_INTERFACE, pair)) ==
        pair +
            ": expected one tg.policy/1 component, found tg.policy/1 'pair', tg.policy/1 'twin'; put the "
            "file on "
            "plugins.path and use the component's name");
}

TEST_CASE("an unknown name says where it was looked for and what there is") {
  const PluginDir dir;
  dir.install("first");
  dir.install("no_symbol");
  Registry registry({.path = {dir.path()}});
  CHECK(
      path_of(registry.find(TG_POLICY_INTERFACE, "fist")) ==
      "plugin 'fist': expected fist.so or a library with a tg.policy/1 component of that name in " +
          dir.path() +
          "; found the components first and the refused files no_symbol.so; check the name and plugins.path");
}

TEST_CASE("a file whose component has another name or interface is refused") {
  const PluginDir dir;
  dir.install("first", "other");
  Registry registry({.path = {dir.path()}});
  CHECK(path_of(registry.find(TG_POLICY_INTERFACE, "other")) ==
        dir.at("other") +
            ": expected a tg.policy/1 component 'other', found tg.policy/1 'first'; name one of those or "
            "rename the file");
}

TEST_CASE("two libraries with one component name: the later one is refused") {
  const PluginDir dir;
  dir.install("first", "a");
  dir.install("alias", "b");
  Registry registry({.path = {dir.path()}});
  const auto& states = registry.list();
  REQUIRE(states.size() == 2);
  CHECK(states[0].library != nullptr);
  CHECK(states[1].library == nullptr);
  CHECK(states[1].refused == dir.at("b") +
                                 ": expected component names that no other library has, found 'first' of "
                                 "tg.policy/1, which " +
                                 dir.at("a") + " offers too; remove one of the two files or rename");
}

TEST_CASE(
    "which of two libraries with one component name is refused does not depend on what was looked for "
    "first") {
  const PluginDir dir;
  dir.install("second");
  dir.install("pair_second", "pair");  // "pair" and "second": before second.so in the path's order
  const auto looked_up = [&](const std::vector<std::string>& names) {
    Registry registry({.path = {dir.path()}});
    std::map<std::string, std::string> paths;
    for (const std::string& name : names) paths[name] = path_of(registry.find(TG_POLICY_INTERFACE, name));
    std::string refused;
    for (const LibraryState& state : registry.list()) refused += state.refused;
    return std::pair(paths, refused);
  };
  const auto one = looked_up({"second", "pair"});
  CHECK(one == looked_up({"pair", "second"}));
  CHECK(one.first.at("second") == dir.at("second"));
  CHECK(one.first.at("pair") == dir.at("pair"));
  CHECK(one.second ==
        dir.at("second") +
            ": expected component names that no other library has, found 'second' of tg.policy/1, "
            "which " +
            dir.at("pair") + " offers too; remove one of the two files or rename");
}

TEST_CASE("what is known is told without loading anything") {
  const PluginDir dir;
  dir.install("first");
  dir.install("second");
  dir.install("no_symbol");
  Registry registry({.path = {dir.path()}});
  CHECK(registry.known().empty());
  REQUIRE(registry.find(TG_POLICY_INTERFACE, "first"));
  CHECK_FALSE(registry.find(TG_POLICY_INTERFACE, "no_symbol"));
  REQUIRE(registry.known().size() == 2);
  CHECK(registry.known()[0].library->name() == "first");
  CHECK(registry.known()[1].refused.find("no_symbol.so: expected the entry symbol") != std::string::npos);
}

TEST_CASE("rescan notices a replaced file; both libraries stay") {
  const PluginDir dir;
  dir.install("swap_v1", "swap");
  Registry registry({.path = {dir.path()}});
  const Component* before = *registry.find(TG_POLICY_INTERFACE, "swap");
  dir.install("swap_v2", "swap");
  CHECK(*registry.find(TG_POLICY_INTERFACE, "swap") == before);
  registry.rescan();
  const Component* after = *registry.find(TG_POLICY_INTERFACE, "swap");
  CHECK(after->library->version() == "2.0");
  CHECK(before->library->version() == "1.0");
  CHECK(registry.list()[0].replaced());
}

TEST_CASE("a library whose init fails is refused with its text") {
  const PluginDir dir;
  dir.install("init_fails");
  FakeEnvironment environment;
  Registry registry({.path = {dir.path()}}, &environment);
  CHECK(path_of(registry.find(TG_POLICY_INTERFACE, "init_fails")) ==
        dir.at("init_fails") +
            ": expected its init() to succeed, found status 4: no licence file; see the plugin's "
            "documentation");
}

}  // namespace
}  // namespace tidegate::plugin
