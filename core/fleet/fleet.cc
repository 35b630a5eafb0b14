#include "fleet/fleet.h"

#include <set>

namespace tidegate::fleet {

std::string Fleet::publish(const std::string& source, std::vector<ResolvedSpec> specs, bool allow_shrink,
                           std::uint64_t now_ms) {
  Source& known = sources_[source];
  if (!allow_shrink && !known.empty() && specs.size() * 2 < known.size()) {
    auto [at, first] = held_since_.try_emplace(source, now_ms);
    if (now_ms - at->second < panic_hold_ms)
      return "source '" + source + "' went from " + std::to_string(known.size()) + " to " +
             std::to_string(specs.size()) + " workers at once; the old list is kept for " +
             std::to_string(panic_hold_ms / 1000) +
             " s. If this is meant, wait, or remove the workers one by one";
  }
  held_since_.erase(source);
  std::set<std::string> said;
  for (const auto& spec : specs) said.insert(spec.spec.id);
  for (auto at = known.begin(); at != known.end();) {
    auto next = std::next(at);
    if (!said.contains(at->first)) retire(known, at, "gone from its source");
    at = next;
  }
  std::string problem;
  for (auto& spec : specs)
    if (auto text = upsert(std::move(spec)); !text.empty()) problem = std::move(text);
  return problem;
}

std::string Fleet::upsert(ResolvedSpec resolved) {
  Source& source = sources_[resolved.spec.source];
  auto at = source.find(resolved.spec.id);
  bool proven = false;
  if (at != source.end()) {
    const bool same_place = at->second->endpoint().address == resolved.endpoint.address;
    if (same_place && at->second->spec() == resolved.spec) return {};
    // What is said of it has changed, not the engine: it need not prove its health anew.
    proven = same_place && at->second->ready();
    retire(source, at, "changed");
  }
  auto lease = slots_->acquire();
  if (!lease)
    return "worker '" + resolved.spec.id + "' is not registered: all " +
           std::to_string(SlotTable::max_slots) + " slots are taken; use fewer workers a gateway";
  const bool draining = resolved.spec.draining;
  std::string id = resolved.spec.id;
  auto metrics = metrics_ ? metrics_(resolved.spec) : nullptr;
  auto worker = std::make_shared<const Worker>(slots_, *lease, std::move(resolved.spec),
                                               std::move(resolved.endpoint), std::move(metrics));
  if (proven) live_set(worker->live().state, TG_WORKER_READY);
  if (draining) live_set(worker->live().state, TG_WORKER_DRAINING);
  source.emplace(std::move(id), worker);
  listener_.on_worker_added(worker);
  listener_.on_membership_changed();
  return {};
}

void Fleet::retire(Source& source, Source::iterator at, std::string_view reason) {
  WorkerPtr worker = at->second;
  source.erase(at);
  leaving_.push_back(worker);
  listener_.on_worker_removed(worker, reason);
  listener_.on_membership_changed();
}

bool Fleet::remove(const std::string& source, const std::string& id, std::string_view reason) {
  auto known = sources_.find(source);
  if (known == sources_.end()) return false;
  auto at = known->second.find(id);
  if (at == known->second.end()) return false;
  retire(known->second, at, reason);
  return true;
}

void Fleet::drop_source(const std::string& source, std::string_view reason) {
  auto known = sources_.find(source);
  if (known == sources_.end()) return;
  while (!known->second.empty()) retire(known->second, known->second.begin(), reason);
  sources_.erase(known);
  held_since_.erase(source);
}

WorkerPtr Fleet::find(std::string_view uuid) const {
  for (const auto& [name, source] : sources_)
    for (const auto& [id, worker] : source)
      if (worker->uuid() == uuid) return worker;
  return nullptr;
}

WorkerPtr Fleet::find_url(std::string_view url) const {
  for (const auto& [name, source] : sources_)
    for (const auto& [id, worker] : source)
      if (worker->spec().url == url) return worker;
  return nullptr;
}

const std::vector<WorkerPtr> Fleet::workers() const {
  std::vector<WorkerPtr> all;
  for (const auto& [name, source] : sources_)
    for (const auto& [id, worker] : source) all.push_back(worker);
  return all;
}

std::size_t Fleet::count(const std::string& source) const {
  auto at = sources_.find(source);
  return at == sources_.end() ? 0 : at->second.size();
}

bool Fleet::set_state(const Worker& worker, std::uint32_t state) {
  if (worker.state() == state || worker.state() == TG_WORKER_GONE) return false;
  live_set(worker.live().state, state);
  listener_.on_membership_changed();
  return true;
}

void Fleet::let_go() noexcept {
  for (const auto& worker : leaving_) live_set(worker->live().state, TG_WORKER_GONE);
  leaving_.clear();
}

MembershipPtr Fleet::make_membership() { return Membership::make(++epoch_, workers(), *slots_); }

}  // namespace tidegate::fleet
