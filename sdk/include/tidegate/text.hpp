// tidegate/text.hpp - short texts of words and numbers, put together without allocating.
//
// What      Text("queue ", 3, " of ", 8) for reasons and logs: p.reason(p.copy(tg::Text(...))).
// Threads   [any]; hot.
// Ownership Holds its characters: copy() them where they must outlive the statement.
// Errors    None: what is longer than `most` bytes is cut.
#pragma once
#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstring>
#include <string_view>

namespace tg {

class Text {
 public:
  static constexpr size_t most = 200;

  template <class... Parts>
  explicit Text(const Parts&... parts) noexcept {
    (add(parts), ...);
  }
  void add(std::string_view words) noexcept {
    const size_t n = std::min(words.size(), most - size_);
    if (n != 0) std::memcpy(bytes_ + size_, words.data(), n);
    size_ += n;
  }
  template <std::integral N>
  void add(N number) noexcept {
    char digits[24];
    const char* end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    add(std::string_view(digits, static_cast<size_t>(end - digits)));
  }
  template <std::floating_point N>
  void add(N number) noexcept {
    char digits[64];
    auto end = std::to_chars(digits, digits + sizeof digits, number, std::chars_format::fixed, 3);
    if (end.ec == std::errc()) add(std::string_view(digits, static_cast<size_t>(end.ptr - digits)));
  }
  operator std::string_view() const noexcept { return {bytes_, size_}; }

 private:
  char bytes_[most];
  size_t size_ = 0;
};

}  // namespace tg
