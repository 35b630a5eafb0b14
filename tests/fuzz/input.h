// What: a program's bytes, read one decision at a time. Past the end everything is 0, and done() says so.
// Threads: one. Ownership: borrows the bytes. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tidegate::fuzz {

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}
  bool done() const noexcept { return at_ >= bytes_.size(); }
  std::uint8_t byte() noexcept { return done() ? std::uint8_t{0} : bytes_[at_++]; }
  std::size_t below(std::size_t n) noexcept { return n == 0 ? 0 : byte() % n; }
  // A count that is small as a rule: 1-15 as such, then in steps up to "all of it".
  std::size_t amount() noexcept {
    const std::uint8_t b = byte();
    if (b < 64) return 1 + b % 16;
    if (b < 160) return std::size_t{1} << (4 + b % 10);
    return ~std::size_t{0};
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

}  // namespace tidegate::fuzz
