// tidegate/config.hpp - an instance's configuration, and policies and scorers below it, while it is made.
//
// What      Typed access by JSON pointer ("/threshold", "/workers/0/url"). The host has already checked the
//           configuration against the schema and filled in its defaults.
// Threads   [control], inside the constructor only: copy what you keep. Child::pick() and Scorer::score()
//           are [request].
// Ownership What is returned is the caller's; a Child is the host's and lives as long as its parent.
// Errors    tg::Error: an unknown secret, a bad child, a configuration on a host without tg.host.config/1.
#pragma once
#include <optional>

#include "children.hpp"
#include "host.hpp"

namespace tg {

class Config {
 public:
  Config(const Host& host, tg_str json) noexcept
      : host_(host.get()), table_(host.find<tg_host_config>(TG_HOST_CONFIG)), json_(json) {}
  std::string_view text() const noexcept { return view(json_); }  // the whole configuration as JSON

  bool boolean(std::string_view path, bool otherwise) const {
    return known() ? table_->boolean(host_, str(path), otherwise) : otherwise;
  }
  int64_t integer(std::string_view path, int64_t otherwise) const {
    return known() ? table_->integer(host_, str(path), otherwise) : otherwise;
  }
  double number(std::string_view path, double otherwise) const {
    return known() ? table_->number(host_, str(path), otherwise) : otherwise;
  }
  std::string string(std::string_view path, std::string_view otherwise = "") const {
    return std::string(known() ? view(table_->string(host_, str(path), str(otherwise))) : otherwise);
  }
  std::chrono::milliseconds duration(std::string_view path, std::chrono::milliseconds otherwise) const {
    if (!known()) return otherwise;
    auto ms = table_->duration_ms(host_, str(path), static_cast<uint64_t>(otherwise.count()));
    return std::chrono::milliseconds(ms);
  }
  uint32_t count(std::string_view path) const { return known() ? table_->count(host_, str(path)) : 0; }
  // The name of an object's member; index below count().
  std::string key(std::string_view path, uint32_t index) const {
    return std::string(known() ? view(table_->key(host_, str(path), index)) : std::string_view());
  }
  // That part as JSON text; nothing when it is not there.
  std::optional<std::string> json(std::string_view path) const {
    Collect out;
    if (!known() || table_->json(host_, str(path), out.sink()) != TG_OK) return std::nullopt;
    return out.take();
  }
  std::string secret(std::string_view ref) const {
    Collect out;
    if (!known()) throw Error(TG_E_UNSUPPORTED, "", "this host offers no secrets (tg.host.config/1)");
    if (auto status = table_->secret(host_, str(ref), out.sink()); status != TG_OK)
      throw Error(status, "", "no secret named '" + std::string(ref) + "'; add it to the host's secrets");
    return out.take();
  }
  // The policy that the {plugin, config} section at `path` describes.
  Child child(std::string_view path) const {
    auto* policies = child_policies(path);
    tg_child* child = nullptr;
    auto traits = detail::sized<tg_policy_traits>();
    auto error = detail::sized<tg_error>();
    check(policies->create(host_, str(path), &child, &traits, &error), error, path);
    return {policies, child, traits};
  }
  // The scorer that the {plugin, config} section at `path` describes.
  Scorer scorer(std::string_view path) const {
    auto* policies = child_policies(path);
    tg_scorer_child* child = nullptr;
    auto error = detail::sized<tg_error>();
    check(policies->create_scorer(host_, str(path), &child, &error), error, path);
    return {policies, child};
  }

 private:
  const tg_host_policy* child_policies(std::string_view path) const {
    auto* table = host_->get_interface(host_, TG_HOST_POLICY);
    if (table) return static_cast<const tg_host_policy*>(table);
    throw Error(TG_E_UNSUPPORTED, std::string(path), "this host offers no children (tg.host.policy/1)");
  }
  static void check(tg_status status, tg_error& error, std::string_view path) {
    if (status != TG_OK && error.where[0] == 0) detail::copy_text(error.where, sizeof error.where, path);
    detail::check(status, error, "creating the child");
  }
  // No table and no configuration: every default holds. No table but a configuration: silence would ignore
  // it.
  bool known() const {
    if (table_) return true;
    if (text().find_first_not_of(" \t\r\n{}") == std::string_view::npos || text() == "null") return false;
    throw Error(TG_E_UNSUPPORTED, "",
                "this host cannot read configurations (tg.host.config/1); parse text() yourself");
  }
  const tg_host* host_;
  const tg_host_config* table_;
  tg_str json_;
};

}  // namespace tg
