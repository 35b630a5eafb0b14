// tidegate/testing/fleet.hpp - a toy fleet: workers in slots, live records, snapshots, as the gateway keeps
// them.
//
// What      Fleet fleet(8); fleet.load(3, 120); fleet.remove(2); fleet.add();   view() is the current
// membership.
//           A freed slot is used again, with generation + 1, only when every view that showed it is gone.
// Threads   One.
// Ownership A View keeps everything that its snapshot points to; live records are the fleet's and never move.
// Errors    tg::Error for a slot that is empty, or a fleet that is full.
#pragma once
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "../basics.hpp"

namespace tg::testing {

struct ToyWorker {
  std::string id, url = "http://toy", zone, model = "toy";
  std::vector<tg_kv> labels;  // of text that outlives the fleet
  uint32_t role = TG_ROLE_ANY, weight_milli = 1000, bootstrap_port = 0, generation = 1;
  uint32_t max_running = 0, block_tokens = 0;
  uint64_t kv_blocks = 0;
};

// One membership; immutable.
struct View {
  tg_snapshot snapshot;
  std::vector<uint32_t> index;
  std::vector<tg_worker_info> info;
  std::vector<ToyWorker> workers;  // owns the text that info points to
  std::vector<tg_str> models;
};

class Fleet {
 public:
  explicit Fleet(uint32_t count, uint32_t room = 0)
      : capacity_(room ? room : 2 * count + 64), workers_(capacity_), live_(new Cell[capacity_]()) {
    for (uint32_t i = 0; i < count; ++i) add();
  }
  // Adds a worker and returns its slot.
  uint32_t add(ToyWorker worker = {}) {
    for (uint32_t slot = 0; slot < capacity_; ++slot) {
      if (workers_[slot].present || shown(slot)) continue;
      worker.generation = workers_[slot].worker.generation + (workers_[slot].used ? 1 : 0);
      if (worker.id.empty()) worker.id = "worker-" + std::to_string(slot);
      live_[slot].record = {};
      live_[slot].record.generation = worker.generation;
      live_[slot].record.state = TG_WORKER_READY;
      workers_[slot] = {std::move(worker), true, true};
      view_.reset();
      return slot;
    }
    throw Error(TG_E_LIMIT, "", "the toy fleet is full; give it more room: Fleet(count, room)");
  }
  void remove(uint32_t slot) {
    at(slot);
    workers_[slot].present = false;
    live_[slot].record.state = TG_WORKER_GONE;
    view_.reset();
  }
  // Changes what a worker is: fleet.change(2, [](auto& w) { w.role = TG_ROLE_PREFILL; });
  Fleet& change(uint32_t slot, const std::function<void(ToyWorker&)>& how) {
    how(at(slot));
    view_.reset();
    return *this;
  }
  Fleet& role(uint32_t slot, uint32_t role) {
    return change(slot, [&](ToyWorker& w) { w.role = role; });
  }
  Fleet& weight(uint32_t slot, uint32_t milli) {
    return change(slot, [&](ToyWorker& w) { w.weight_milli = milli; });
  }
  Fleet& load(uint32_t slot, uint32_t inflight, uint32_t inflight_tokens = 0) {
    put(&live(slot).inflight, inflight);
    put(&live(slot).inflight_tokens, inflight_tokens);
    return *this;
  }
  Fleet& state(uint32_t slot, uint32_t state) { return put(&live(slot).state, state), *this; }
  tg_worker_live& live(uint32_t slot) noexcept { return live_[slot].record; }
  static void put(uint32_t* member, uint32_t value) noexcept {
    __atomic_store_n(member, value, __ATOMIC_RELAXED);
  }

  std::shared_ptr<const View> view() {
    if (!view_) publish();
    return view_;
  }

 private:
  struct alignas(64) Cell {
    tg_worker_live record;
  };
  struct Entry {
    ToyWorker worker;
    bool present = false, used = false;
  };
  ToyWorker& at(uint32_t slot) {
    if (slot < capacity_ && workers_[slot].present) return workers_[slot].worker;
    throw Error(TG_E_INVALID, "", "no worker in slot " + std::to_string(slot));
  }
  bool shown(uint32_t slot) const {
    return std::any_of(views_.begin(), views_.end(), [&](auto& weak) {
      auto view = weak.lock();
      return view && view->index[slot] != TG_NONE;
    });
  }
  void publish() {
    auto view = std::make_shared<View>();
    for (uint32_t slot = 0; slot < capacity_; ++slot) {
      bool present = workers_[slot].present;
      view->index.push_back(present ? static_cast<uint32_t>(view->workers.size()) : TG_NONE);
      if (present) view->workers.push_back(workers_[slot].worker);
    }
    for (auto& worker : view->workers) view->models.push_back(str(worker.model));
    for (uint32_t slot = 0; slot < capacity_; ++slot)
      if (uint32_t i = view->index[slot]; i != TG_NONE)
        view->info.push_back(describe(slot, view->workers[i], &view->models[i]));
    auto& s = view->snapshot = {};
    s.size = sizeof s, s.count = static_cast<uint32_t>(view->info.size()), s.epoch = ++epoch_;
    s.info = view->info.data(), s.info_stride = sizeof(tg_worker_info), s.slot_capacity = capacity_;
    s.index = view->index.data(), s.live = live_.get(), s.live_stride = sizeof(Cell);
    std::erase_if(views_, [](auto& weak) { return weak.expired(); });
    views_.push_back(view);
    view_ = std::move(view);
  }
  static tg_worker_info describe(uint32_t slot, const ToyWorker& w, const tg_str* model) {
    tg_worker_info info{};
    info.size = sizeof info, info.slot = slot, info.generation = w.generation, info.role = w.role;
    info.id = str(w.id), info.url = str(w.url), info.zone = str(w.zone);
    info.models = model, info.model_count = 1;
    info.labels = w.labels.data(), info.label_count = static_cast<uint32_t>(w.labels.size());
    info.weight_milli = w.weight_milli, info.bootstrap_port = w.bootstrap_port;
    info.max_running = w.max_running, info.block_tokens = w.block_tokens, info.kv_blocks = w.kv_blocks;
    return info;
  }

  uint32_t capacity_;
  uint64_t epoch_ = 0;
  std::vector<Entry> workers_;
  std::unique_ptr<Cell[]> live_;
  std::shared_ptr<const View> view_;
  std::vector<std::weak_ptr<const View>> views_;
};

}  // namespace tg::testing
