// tidegate/request.hpp - what a pick and a scorer see: the request, its candidates and how they do.
//
// What      Request: candidates, live counters, worker records, prompt spans, memory of the request.
// Threads   [request], during the call that got it. All hot.
// Ownership The host's; copy what you keep. allocate() and copy() are freed with the request.
// Errors    Nothing throws. allocate() returns null when the request's 64 KiB are used up.
#pragma once
#include <type_traits>

#include "host.hpp"

namespace tg {

// How a worker does, read member by member: two members may be from different moments.
class Live {
 public:
  explicit Live(const tg_worker_live* record) noexcept : r_(record) {}
  uint32_t state() const noexcept { return tg_live_get(&r_->state); }
  uint32_t generation() const noexcept { return tg_live_get(&r_->generation); }
  uint32_t inflight() const noexcept { return tg_live_get(&r_->inflight); }
  uint32_t inflight_tokens() const noexcept { return tg_live_get(&r_->inflight_tokens); }
  uint32_t running() const noexcept { return tg_live_get(&r_->running); }
  uint32_t waiting() const noexcept { return tg_live_get(&r_->waiting); }
  uint32_t kv_used_ppm() const noexcept { return tg_live_get(&r_->kv_used_ppm); }
  uint32_t load_at_ms() const noexcept { return tg_live_get(&r_->load_at_ms); }
  uint32_t ttft_ewma_us() const noexcept { return tg_live_get(&r_->ttft_ewma_us); }
  uint32_t itl_ewma_us() const noexcept { return tg_live_get(&r_->itl_ewma_us); }
  uint32_t error_ppm() const noexcept { return tg_live_get(&r_->error_ppm); }

 private:
  const tg_worker_live* r_;
};

// One membership of the fleet, as build() gets it.
class Snapshot {
 public:
  explicit Snapshot(const tg_snapshot* snapshot) noexcept : s_(snapshot) {}
  const tg_snapshot* get() const noexcept { return s_; }
  uint64_t epoch() const noexcept { return s_->epoch; }
  uint32_t count() const noexcept { return s_->count; }                  // workers
  uint32_t slot_capacity() const noexcept { return s_->slot_capacity; }  // every slot is below it
  const tg_worker_info& worker(uint32_t position) const noexcept { return *tg_info_at(s_, position); }
  const tg_worker_info* of_slot(uint32_t slot) const noexcept { return tg_info_of(s_, slot); }
  Live live(uint32_t slot) const noexcept { return Live(tg_live_at(s_, slot)); }

 private:
  const tg_snapshot* s_;
};

namespace TG_HIDDEN detail {
// Copies the part of a growing struct that both sides know.
template <class T>
T known_part(const T& from) noexcept {
  if (from.size >= sizeof(T)) {
    T all = from;
    all.size = sizeof(T);
    return all;
  }
  T part{};
  std::memcpy(static_cast<void*>(&part), &from, from.size);
  return part;
}
}  // namespace detail

class Request {
 public:
  Request(const Host& host, const tg_pick_args& args) noexcept : host_(&host), args_(&args) {}

  std::span<const uint32_t> candidates() const noexcept {
    return {args_->candidates, args_->candidate_count};
  }
  // The same model's candidates of one TG_ROLE_*.
  std::span<const uint32_t> candidates(uint32_t role) const noexcept {
    if (!args_->by_role || role >= TG_ROLE_COUNT) return {};
    return {args_->by_role[role].slots, args_->by_role[role].count};
  }
  Live live(uint32_t slot) const noexcept { return Live(tg_live_at(args_->snapshot, slot)); }
  const tg_worker_info* info(uint32_t slot) const noexcept { return tg_info_of(args_->snapshot, slot); }
  Snapshot snapshot() const noexcept { return Snapshot(args_->snapshot); }

  std::string_view model() const noexcept { return view(args_->model); }
  std::string_view key() const noexcept { return view(args_->key); }
  uint64_t key_hash() const noexcept { return args_->key_hash; }
  std::string_view path() const noexcept { return view(args_->path); }
  std::string_view body() const noexcept { return view(args_->body); }
  std::span<const tg_span> spans() const noexcept {
    return {args_->spans, args_->spans ? args_->span_count : 0};
  }
  uint32_t prompt_tokens_est() const noexcept { return args_->prompt_tokens_est; }  // TG_NONE: unknown
  uint32_t max_new_tokens() const noexcept { return args_->max_new_tokens; }
  uint32_t attempt() const noexcept { return args_->attempt; }
  uint32_t stage() const noexcept { return args_->stage; }
  uint32_t prior_slot() const noexcept { return args_->prior_slot; }
  uint64_t id() const noexcept { return args_->request_id; }
  uint64_t now_ns() const noexcept { return args_->now_ns; }
  uint64_t deadline_ns() const noexcept { return args_->deadline_ns; }
  bool streams() const noexcept { return (args_->flags & TG_PICK_STREAM) != 0; }
  bool explain() const noexcept { return (args_->flags & TG_PICK_EXPLAIN) != 0; }  // reason() will be read
  std::string_view header(std::string_view name) const noexcept {
    auto* service = host_->request();
    return service ? view(service->header(args_->request, str(name))) : std::string_view();
  }

  // A copy to change for a child: fewer candidates, another stage.
  tg_pick_args args() const noexcept { return detail::known_part(*args_); }
  const tg_pick_args& raw() const noexcept { return *args_; }

  // Zeroed memory that lives as long as the request; null: used up.
  template <class T>
  T* allocate(size_t count = 1) const noexcept {
    static_assert(std::is_trivially_destructible_v<T>, "request memory is freed without destructors");
    auto* service = host_->request();
    if (!service || count > SIZE_MAX / sizeof(T)) return nullptr;
    return static_cast<T*>(service->allocate(args_->request, count * sizeof(T), alignof(T)));
  }
  // Text that lives as long as the request; empty when memory is used up.
  std::string_view copy(std::string_view text) const noexcept {
    char* to = text.empty() ? nullptr : allocate<char>(text.size());
    if (!to) return {};
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }
  // Hands a plain value to learn() on [control]. False: the queue was full; it is dropped and counted.
  template <class T>
  bool remember(const T& value) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>, "remember() copies bytes: use a trivially copyable type");
    static_assert(sizeof(T) <= 65536, "remember() takes at most 64 KiB");
    return remember_bytes({reinterpret_cast<const char*>(&value), sizeof value});
  }
  bool remember_bytes(std::string_view bytes) const noexcept {
    auto* service = host_->request();
    return service && bytes.size() <= 65536 &&
           service->remember(host_->get(), args_->request, bytes.data(), static_cast<uint32_t>(bytes.size()));
  }

 protected:
  const Host* host_;
  const tg_pick_args* args_;
};

}  // namespace tg
