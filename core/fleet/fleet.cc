#include "fleet/fleet.h"

#include <algorithm>
#include <set>

namespace tidegate::fleet {
namespace {

void forget(std::vector<ResolvedSpec>& list, const std::string& id) {
  std::erase_if(list, [&](const ResolvedSpec& one) { return one.spec.id == id; });
}

}  // namespace

std::size_t Fleet::Source::said() const {
  std::size_t count = workers.size();
  for (const auto& [id, spec] : unreached) count += !workers.contains(id);
  return count;
}

std::string Fleet::publish(const std::string& source, std::vector<ResolvedSpec> specs, bool allow_shrink,
                           std::uint64_t now_ms) {
  Source& known = sources_[source];
  const std::size_t before = known.said(), after = specs.size();
  if (!allow_shrink && after * 2 < before) {
    const bool first = !known.held;
    known.held = Held{first ? now_ms : known.held->since_ms, std::move(specs)};
    if (now_ms - known.held->since_ms < panic_hold_ms)
      return first ? "source '" + source + "' went from " + std::to_string(before) + " to " +
                         std::to_string(after) + " workers at once; the old list serves on and the new one " +
                         "is taken over in " + std::to_string(panic_hold_ms / 1000) +
                         " s unless the source says otherwise by then"
                   : "";
    specs = std::move(known.held->list);
  }
  return take_over(known, std::move(specs), now_ms);
}

std::string Fleet::take_over(Source& known, std::vector<ResolvedSpec> list, std::uint64_t now_ms) {
  known.held.reset();
  std::set<std::string> said;
  for (const auto& spec : list) said.insert(spec.spec.id);
  for (auto at = known.workers.begin(); at != known.workers.end();) {
    auto next = std::next(at);
    if (!said.contains(at->first)) retire(known, at, "gone from its source");
    at = next;
  }
  std::erase_if(known.unreached, [&](const auto& one) { return !said.contains(one.first); });
  std::erase_if(known.ends_ms, [&](const auto& one) { return !said.contains(one.first); });
  std::string problems;
  for (auto& spec : list)
    if (auto text = upsert(std::move(spec), now_ms); !text.empty())
      problems += (problems.empty() ? "" : "; ") + text;
  return problems;
}

std::string Fleet::upsert(ResolvedSpec resolved, std::uint64_t now_ms) {
  Source& source = sources_[resolved.spec.source];
  const std::string& id = resolved.spec.id;
  if (source.held) {
    forget(source.held->list, id);
    source.held->list.push_back(resolved);
  }
  if (resolved.spec.ttl_ms)
    source.ends_ms[id] = now_ms + resolved.spec.ttl_ms;
  else
    source.ends_ms.erase(id);
  return put(source, std::move(resolved));
}

std::string Fleet::put(Source& source, ResolvedSpec resolved) {
  auto at = source.workers.find(resolved.spec.id);
  std::string problem;
  if (resolved.endpoint) {
    source.unreached.erase(resolved.spec.id);
  } else {
    source.unreached.insert_or_assign(resolved.spec.id, resolved.spec);
    problem = resolved.problem;
    if (at == source.workers.end() || at->second->spec().url != resolved.spec.url) return problem;
    resolved.endpoint = at->second->endpoint();
  }
  bool proven = false;
  if (at != source.workers.end()) {
    const Endpoint& before = at->second->endpoint();
    const bool same_place = before.still_at(*resolved.endpoint);
    if (same_place) resolved.endpoint->address = before.address;
    if (same_place && before.authorization == resolved.endpoint->authorization &&
        at->second->spec() == resolved.spec)
      return problem;
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
                                               std::move(*resolved.endpoint), std::move(metrics));
  if (proven) live_set(worker->live().state, TG_WORKER_READY);
  if (draining) live_set(worker->live().state, TG_WORKER_DRAINING);
  source.workers.emplace(std::move(id), worker);
  listener_.on_worker_added(worker);
  listener_.on_membership_changed();
  return problem;
}

std::vector<WorkerSpec> Fleet::to_reach(bool all) const {
  std::vector<WorkerSpec> specs;
  for (const auto& [name, source] : sources_) {
    for (const auto& [id, spec] : source.unreached) specs.push_back(spec);
    for (const auto& [id, worker] : source.workers)
      if (all && !source.unreached.contains(id) &&
          (worker->endpoint().named || !worker->spec().secret_ref.empty()))
        specs.push_back(worker->spec());
  }
  return specs;
}

void Fleet::reached(ResolvedSpec found) {
  auto known = sources_.find(found.spec.source);
  if (known == sources_.end() || !found.endpoint) return;
  Source& source = known->second;
  const auto waiting = source.unreached.find(found.spec.id);
  const auto worker = source.workers.find(found.spec.id);
  const WorkerSpec* said = waiting != source.unreached.end() ? &waiting->second
                           : worker != source.workers.end()  ? &worker->second->spec()
                                                             : nullptr;
  if (said && *said == found.spec) put(source, std::move(found));
}

void Fleet::retire(Source& source, std::map<std::string, WorkerPtr>::iterator at, std::string_view reason) {
  WorkerPtr worker = at->second;
  source.workers.erase(at);
  leaving_.push_back(worker);
  listener_.on_worker_removed(worker, reason);
  listener_.on_membership_changed();
}

bool Fleet::remove(const std::string& name, const std::string& id, std::string_view reason) {
  auto known = sources_.find(name);
  if (known == sources_.end()) return false;
  Source& source = known->second;
  // It may be a part of what ends here.
  const std::string gone = id;  // NOLINT(performance-unnecessary-copy-initialization)
  if (source.held) forget(source.held->list, gone);
  source.ends_ms.erase(gone);
  const bool waited = source.unreached.erase(gone) > 0;
  auto at = source.workers.find(gone);
  if (at == source.workers.end()) return waited;
  retire(source, at, reason);
  return true;
}

void Fleet::drop_source(const std::string& source, std::string_view reason) {
  auto known = sources_.find(source);
  if (known == sources_.end()) return;
  auto& workers = known->second.workers;
  while (!workers.empty()) retire(known->second, workers.begin(), reason);
  sources_.erase(known);
}

void Fleet::tick(std::uint64_t now_ms) {
  for (auto& [name, source] : sources_) {
    if (source.held && now_ms - source.held->since_ms >= panic_hold_ms)
      take_over(source, std::move(source.held->list), now_ms);
    std::vector<std::string> ended;
    for (const auto& [id, end_ms] : source.ends_ms)
      if (end_ms <= now_ms) ended.push_back(id);
    for (const auto& id : ended) remove(name, id, "not reported again within its ttl");
  }
}

WorkerPtr Fleet::find(std::string_view uuid) const {
  for (const auto& [name, source] : sources_)
    for (const auto& [id, worker] : source.workers)
      if (worker->uuid() == uuid) return worker;
  return nullptr;
}

WorkerPtr Fleet::find_url(std::string_view url) const {
  for (const auto& [name, source] : sources_)
    for (const auto& [id, worker] : source.workers)
      if (worker->spec().url == url) return worker;
  return nullptr;
}

const std::vector<WorkerPtr> Fleet::workers() const {
  std::vector<WorkerPtr> all;
  for (const auto& [name, source] : sources_)
    for (const auto& [id, worker] : source.workers) all.push_back(worker);
  return all;
}

std::size_t Fleet::count(const std::string& source) const {
  auto at = sources_.find(source);
  return at == sources_.end() ? 0 : at->second.workers.size();
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
