// Reading what tg_plugin_v1() returned: every pointer is the plugin's, every size may be another version's.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

#include "plugin/library.h"

namespace tidegate::plugin {
namespace {

struct Interface {
  const char* id;
  Kind kind;
};
constexpr Interface interfaces[] = {{TG_POLICY_INTERFACE, Kind::policy},
                                    {TG_SCORER_INTERFACE, Kind::scorer},
                                    {TG_DISCOVERY_INTERFACE, Kind::discovery}};
// What plugins of minor 0 fill; later members are read only where they are there.
constexpr std::size_t oldest_component = offsetof(tg_component, functions) + sizeof(tg_component::functions);
constexpr std::size_t oldest_plugin = offsetof(tg_plugin, init) + sizeof(tg_plugin::init);
constexpr std::string_view draft_prefix = "tg.draft.";
constexpr std::uint32_t need_mask = 0xffff;

std::string text_of(const char* text) { return text ? text : ""; }

bool well_formed(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
  });
}

// Copies what both sides know of a table that starts with its size.
template <class T>
void copy_table(T& ours, const void* theirs) {
  std::uint32_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  size = std::min<std::uint32_t>(size, sizeof ours);
  std::memcpy(&ours, theirs, size);
  ours.size = size;
}

struct Mandatory {
  const char* name;
  bool present;
};
std::optional<Refusal> check_functions(const std::string& about, std::string_view table,
                                       std::span<const Mandatory> functions) {
  for (const Mandatory& f : functions)
    if (!f.present)
      return Refusal{about + ": expected a " + std::string(table) + " with the function " + f.name +
                         ", found none; implement it (it is mandatory)",
                     ""};
  return std::nullopt;
}

std::optional<Refusal> check_needs(const std::string& about, std::uint32_t flags, Kind kind) {
  const std::uint32_t unknown = flags & need_mask & ~known_needs(kind);
  if (unknown == 0) return std::nullopt;
  int bit = 0;
  while (!(unknown >> bit & 1)) ++bit;
  return Refusal{about + ": expected need bits out of 0x" + (kind == Kind::discovery ? "0" : "7") +
                     ", found bit " + std::to_string(bit) +
                     ", which this gateway does not know; use a newer gateway",
                 ""};
}

std::optional<Refusal> copy_functions(Component& c, const void* functions, const std::string& about) {
  std::optional<Refusal> refused;
  switch (c.kind) {
    case Kind::policy: {
      copy_table(c.policy, functions);
      c.flags = c.policy.flags;
      const Mandatory needed[] = {{"create", c.policy.create != nullptr},
                                  {"destroy", c.policy.destroy != nullptr},
                                  {"pick", c.policy.pick != nullptr}};
      refused = check_functions(about, "tg_policy", needed);
      break;
    }
    case Kind::scorer: {
      copy_table(c.scorer, functions);
      c.flags = c.scorer.flags;
      const Mandatory needed[] = {{"create", c.scorer.create != nullptr},
                                  {"destroy", c.scorer.destroy != nullptr},
                                  {"score", c.scorer.score != nullptr}};
      refused = check_functions(about, "tg_scorer", needed);
      c.policy.destroy = c.scorer.destroy;
      c.policy.build = c.scorer.build;
      c.policy.release = c.scorer.release;
      c.policy.complete = c.scorer.complete;
      break;
    }
    case Kind::discovery: {
      copy_table(c.discovery, functions);
      c.flags = c.discovery.flags;
      const Mandatory needed[] = {{"create", c.discovery.create != nullptr},
                                  {"destroy", c.discovery.destroy != nullptr},
                                  {"run", c.discovery.run != nullptr}};
      refused = check_functions(about, "tg_discovery", needed);
      break;
    }
    case Kind::draft: c.draft = functions; return std::nullopt;
  }
  return refused ? refused : check_needs(about, c.flags, c.kind);
}

Outcome<Kind> kind_of(const std::string& id, const std::string& about, Library::Options options) {
  for (const Interface& i : interfaces)
    if (id == i.id) return i.kind;
  if (std::string_view(id).substr(0, draft_prefix.size()) != draft_prefix)
    return Refusal{about +
                       ": expected one of the interfaces tg.policy/1, tg.scorer/1, tg.discovery/1, found '" +
                       id + "'; use a gateway that knows it, or a build of the plugin for this one",
                   ""};
  if (options.allow_draft) return Kind::draft;
  return Refusal{about + ": expected a stable interface, found the draft '" + id +
                     "', which may change with any release; set plugins.allow_draft to load it all the same",
                 ""};
}

Outcome<Component> read_component(const tg_component& c, const std::string& path, Library::Options options) {
  if (c.size < oldest_component)
    return Refusal{path + ": expected components of at least " + std::to_string(oldest_component) +
                       " bytes, found " + std::to_string(c.size) + "; set tg_component.size to its sizeof",
                   ""};
  Component ours;
  ours.name = text_of(c.name);
  ours.interface_id = text_of(c.interface_id);
  ours.summary = text_of(c.summary);
  ours.config_schema = text_of(c.config_schema);
  if (!well_formed(ours.name))
    return Refusal{path + ": expected a component name of 1 to 64 characters out of [a-z0-9_.-], found '" +
                       ours.name + "'; rename it",
                   ""};
  const std::string about = path + ": component '" + ours.name + "'";
  const Outcome<Kind> kind = kind_of(ours.interface_id, about, options);
  if (!kind) return kind.refusal();
  ours.kind = *kind;
  if (!c.functions)
    return Refusal{about + ": expected a table of functions, found none; set tg_component.functions", ""};
  if (auto refused = copy_functions(ours, c.functions, about)) return *std::move(refused);
  return ours;
}

std::optional<Refusal> check_versions(const tg_plugin* p, const std::string& path) {
  if (!p)
    return Refusal{path + ": expected a descriptor from tg_plugin_v1(), found none; return a constant", ""};
  if (p->size < offsetof(tg_plugin, name))
    return Refusal{path + ": expected a descriptor of at least " + std::to_string(oldest_plugin) +
                       " bytes, found " + std::to_string(p->size) + "; set tg_plugin.size to its sizeof",
                   ""};
  if (p->abi_major != TG_ABI_MAJOR)
    return Refusal{
        path + ": expected plugin ABI 1, found " + std::to_string(p->abi_major) +
            " in its descriptor; rebuild it against an SDK of ABI 1 or use a gateway that speaks " +
            std::to_string(p->abi_major),
        ""};
  if (p->abi_minor_min > TG_ABI_MINOR)
    return Refusal{path + ": expected a plugin that can live with ABI 1." + std::to_string(TG_ABI_MINOR) +
                       ", found one that needs 1." + std::to_string(p->abi_minor_min) +
                       " or newer; use a newer gateway, or lower its abi_minor_min",
                   ""};
  if (p->size < oldest_plugin)
    return Refusal{path + ": expected a descriptor of at least " + std::to_string(oldest_plugin) +
                       " bytes, found " + std::to_string(p->size) + "; set tg_plugin.size to its sizeof",
                   ""};
  if (!well_formed(text_of(p->name)))
    return Refusal{path + ": expected a plugin name of 1 to 64 characters out of [a-z0-9_.-], found '" +
                       text_of(p->name) + "'; rename it",
                   ""};
  if (p->component_count == 0 || !p->components || p->component_stride < oldest_component)
    return Refusal{path + ": expected at least one component and a stride of at least " +
                       std::to_string(oldest_component) + ", found " + std::to_string(p->component_count) +
                       " with a stride of " + std::to_string(p->component_stride) +
                       "; fill in the descriptor",
                   ""};
  return std::nullopt;
}

}  // namespace

std::uint32_t known_needs(Kind kind) noexcept {
  return kind == Kind::policy || kind == Kind::scorer ? TG_NEED_KEY | TG_NEED_PROMPT | TG_NEED_ENGINE_LOAD
                                                      : 0;
}

Outcome<Descriptor> read_descriptor(const tg_plugin* p, const std::string& path, Library::Options options) {
  if (auto refused = check_versions(p, path)) return *std::move(refused);
  Descriptor d{.name = text_of(p->name),
               .version = text_of(p->version),
               .vendor = text_of(p->vendor),
               .license = text_of(p->license),
               .components = {},
               .init = p->init};
  const auto* at = reinterpret_cast<const char*>(p->components);
  for (std::uint32_t i = 0; i < p->component_count; ++i, at += p->component_stride) {
    auto component = read_component(*reinterpret_cast<const tg_component*>(at), path, options);
    if (!component) return component.refusal();
    for (const Component& other : d.components)
      if (other.name == component->name && other.interface_id == component->interface_id)
        return Refusal{path + ": expected each component once, found '" + other.name + "' of " +
                           other.interface_id + " twice; rename one",
                       ""};
    d.components.push_back(*std::move(component));
  }
  return d;
}

}  // namespace tidegate::plugin
