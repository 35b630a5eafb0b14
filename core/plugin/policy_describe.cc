// A policy tree as JSON, for /plugins and bug reports.
#include <nlohmann/json.hpp>

#include "plugin/out_text.h"
#include "plugin/policy_node.h"

namespace tidegate::plugin {

std::string PolicyNode::describe() {
  using Json = nlohmann::ordered_json;
  const Containment& c = *containment_;
  Json slips = Json::object();
  for (std::size_t i = 0; i < slip_kinds; ++i)
    if (const std::uint64_t n = c.slips(static_cast<Slip>(i))) slips[slip_name(static_cast<Slip>(i))] = n;
  Json node = {{"instance", instance()},
               {"component", component_.name},
               {"plugin", component_.library->name()},
               {"version", component_.library->version()},
               {"path", component_.library->path()},
               {"quarantined", quarantined() ? Json(quarantine_name(c.quarantine())) : Json(nullptr)},
               {"slips", slips},
               {"slow_calls", c.slow_calls()},
               {"serial_waits", c.serial_waits()},
               {"serial_wait_us", c.serial_wait_ns() / 1000},
               {"learn_dropped", learn_.dropped()}};
  if (component_.policy.describe && c.quarantine() != Quarantine::stall) {
    OutText text(std::size_t{1} << 20);
    const tg_status status = containment_->exclusive_call(
        Function::describe, [&] { return component_.policy.describe(self_, text.abi()); });
    Json own = Json::parse(text.text(), nullptr, false);
    node["state"] = status == TG_OK && !own.is_discarded() ? own : Json(nullptr);
  }
  Json children = Json::array();
  for (const auto& child : children_) children.push_back(Json::parse(child->describe(), nullptr, false));
  if (!children.empty()) node["children"] = children;
  return node.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tidegate::plugin
