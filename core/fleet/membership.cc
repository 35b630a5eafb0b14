#include "fleet/membership.h"

#include <algorithm>

namespace tidegate::fleet {
namespace {

tg_str str(const std::string& s) noexcept { return {s.data(), s.size()}; }

}  // namespace

std::shared_ptr<const Membership> Membership::make(std::uint64_t epoch, std::vector<WorkerPtr> workers,
                                                   const SlotTable& slots) {
  auto m = std::make_shared<Membership>();
  std::sort(workers.begin(), workers.end(),
            [](const auto& a, const auto& b) { return a->slot() < b->slot(); });
  m->workers_ = std::move(workers);
  const std::size_t count = m->workers_.size();
  m->infos_.resize(count);
  m->strings_.resize(count);
  const std::uint32_t capacity = slots.capacity();
  m->index_.assign(capacity, TG_NONE);
  for (std::size_t i = 0; i < count; ++i) {
    const Worker& worker = *m->workers_[i];
    const WorkerSpec& spec = worker.spec();
    InfoStrings& strings = m->strings_[i];
    for (const auto& model : spec.models) strings.models.push_back(str(model));
    for (const auto& [key, value] : spec.labels) strings.labels.push_back({str(key), str(value)});
    tg_worker_info& info = m->infos_[i];
    info = {.size = sizeof info,
            .slot = worker.slot(),
            .generation = worker.generation(),
            .role = spec.role,
            .id = str(spec.id),
            .url = str(spec.url),
            .zone = str(spec.zone),
            .models = strings.models.data(),
            .model_count = static_cast<std::uint32_t>(strings.models.size()),
            .label_count = static_cast<std::uint32_t>(strings.labels.size()),
            .labels = strings.labels.data(),
            .weight_milli = spec.weight_milli,
            .bootstrap_port = spec.bootstrap_port,
            .max_running = spec.max_running,
            .block_tokens = spec.block_tokens,
            .kv_blocks = spec.kv_blocks};
    m->index_[worker.slot()] = static_cast<std::uint32_t>(i);
    m->add(m->all_, worker);
    if (spec.models.empty()) m->add(m->wildcard_, worker);
    for (const auto& model : spec.models) {
      auto& entry = m->models_[model];
      entry.name = model;
      m->add(entry, worker);
    }
  }
  // A worker that serves any model is a candidate for each known one.
  for (const auto& worker : m->workers_)
    if (worker->spec().models.empty())
      for (auto& [name, entry] : m->models_) m->add(entry, *worker);
  seal(m->all_, capacity);
  seal(m->wildcard_, capacity);
  for (auto& [name, entry] : m->models_) seal(entry, capacity);
  m->snapshot_ = {.size = sizeof(tg_snapshot),
                  .count = static_cast<std::uint32_t>(count),
                  .epoch = epoch,
                  .info = m->infos_.data(),
                  .info_stride = sizeof(tg_worker_info),
                  .slot_capacity = capacity,
                  .index = m->index_.data(),
                  .live = slots.records(),
                  .live_stride = sizeof(tg_worker_live),
                  .reserved = 0};
  return m;
}

void Membership::add(ModelEntry& entry, const Worker& worker) const {
  ++entry.registered;
  entry.starting += worker.state() == TG_WORKER_STARTING;
  if (!worker.ready()) return;
  const std::uint32_t slot = worker.slot();
  auto& bits = entry.bits[worker.spec().role];
  if (bits.size() <= slot / 64) bits.resize(slot / 64 + 1);
  bits[slot / 64] |= std::uint64_t{1} << (slot % 64);
}

void Membership::seal(ModelEntry& entry, std::uint32_t capacity) {
  entry.sets.word_count = (capacity + 63) / 64;
  for (std::uint32_t role = 0; role < TG_ROLE_COUNT; ++role) {
    auto& list = entry.slots[role];
    entry.bits[role].resize(entry.sets.word_count);
    entry.sets.words[role] = entry.bits[role].data();
    for (std::size_t word = 0; word < entry.bits[role].size(); ++word)
      for (std::uint64_t bits = entry.bits[role][word]; bits != 0; bits &= bits - 1)
        list.push_back(
            static_cast<std::uint32_t>(word * 64 + static_cast<std::size_t>(__builtin_ctzll(bits))));
    entry.abi[role] = {list.data(), static_cast<std::uint32_t>(list.size()), 0};
  }
}

const WorkerPtr* Membership::worker(std::uint32_t slot) const noexcept {
  return slot < index_.size() && index_[slot] != TG_NONE ? &workers_[index_[slot]] : nullptr;
}

const ModelEntry* Membership::model(std::string_view name) const noexcept {
  if (name.empty()) return &all_;
  auto at = models_.find(name);
  if (at != models_.end()) return &at->second;
  return wildcard_.registered > 0 ? &wildcard_ : nullptr;
}

std::vector<std::string_view> Membership::model_names() const {
  std::vector<std::string_view> names;
  for (const auto& [name, entry] : models_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace tidegate::fleet
