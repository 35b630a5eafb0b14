// tidegate/testing/fake_request.hpp - what a test's request is made of.
//
// What      RequestSpec describes a request; FakeRequest is its handle with headers and 64 KiB of memory.
// Threads   One.
// Ownership FakeRequest must outlive the pick and, for plans that point into its memory, its completions.
// Errors    allocate() returns null when the memory is used up, as in production.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "../basics.hpp"

namespace tg::testing {

struct RequestSpec {
  std::string model = "toy", key, path = "/v1/chat/completions", body = "{}";
  std::vector<std::pair<uint32_t, std::string>> spans;  // TG_SPAN_* and raw JSON bytes
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<uint32_t> exclude;  // slots already tried
  uint32_t prompt_tokens = TG_NONE, max_new_tokens = TG_NONE, attempt = 0, stage = TG_ROLE_ANY,
           prior_slot = TG_NONE;
  bool stream = false, explain = false;
};

class FakeRequest {
 public:
  static constexpr size_t memory_size = 65536;
  explicit FakeRequest(RequestSpec spec)
      : spec_(std::move(spec)), memory_(new Block[memory_size / sizeof(Block)]()) {
    for (auto& [role, bytes] : spec_.spans) spans_.push_back({role, 0, str(bytes)});
  }
  FakeRequest(const FakeRequest&) = delete;
  FakeRequest& operator=(const FakeRequest&) = delete;

  const RequestSpec& spec() const noexcept { return spec_; }
  std::span<const tg_span> spans() const noexcept { return spans_; }
  const tg_request* handle() const noexcept { return reinterpret_cast<const tg_request*>(this); }
  static FakeRequest* from(const tg_request* handle) noexcept {
    return reinterpret_cast<FakeRequest*>(const_cast<tg_request*>(handle));
  }
  tg_str header(std::string_view name) const noexcept {
    auto same = [](char a, char b) { return (a | 32) == (b | 32); };
    for (auto& [key, value] : spec_.headers)
      if (std::equal(key.begin(), key.end(), name.begin(), name.end(), same)) return str(value);
    return {};
  }
  void* allocate(size_t length, size_t align) noexcept {
    size_t start = (used_ + align - 1) / align * align;
    if (align > alignof(Block) || length > memory_size || start > memory_size - length) return nullptr;
    used_ = start + length;
    return reinterpret_cast<char*>(memory_.get()) + start;
  }
  size_t used() const noexcept { return used_; }

 private:
  struct alignas(64) Block {
    char bytes[64];
  };
  RequestSpec spec_;
  std::vector<tg_span> spans_;
  std::unique_ptr<Block[]> memory_;
  size_t used_ = 0;
};

}  // namespace tg::testing
