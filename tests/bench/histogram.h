// What: a latency histogram in fixed memory: 64 linear steps in every power of two, so a quantile is
// within 1.6 %. Threads: one writer; no sharing. Ownership: plain value. Errors: none; values beyond the
// range land in the last cell.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tidegate::bench {

class Histogram {
 public:
  void record(std::uint64_t value) noexcept {
    ++cells_[std::min(cell_of(value), cells_.size() - 1)];
    ++count_;
    max_ = std::max(max_, value);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t max() const noexcept { return max_; }

  // The smallest recorded value (as its cell's upper edge) that a share `q` of all values does not exceed.
  std::uint64_t quantile(double q) const noexcept {
    const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(count_) + 0.5);
    std::uint64_t seen = 0;
    for (std::size_t cell = 0; cell < cells_.size(); ++cell) {
      seen += cells_[cell];
      if (seen >= wanted && seen > 0) return std::min(upper_edge(cell), max_);
    }
    return max_;
  }

 private:
  static constexpr std::uint64_t kSteps = 64;

  static std::size_t cell_of(std::uint64_t value) noexcept {
    if (value < 2 * kSteps) return value;
    const int shift = std::bit_width(value) - 7;  // leaves 64..127
    return static_cast<std::size_t>(shift) * kSteps + (value >> shift);
  }
  static std::uint64_t upper_edge(std::size_t cell) noexcept {
    if (cell < 2 * kSteps) return cell;
    const std::uint64_t shift = cell / kSteps - 1;
    return ((cell - shift * kSteps + 1) << shift) - 1;
  }

  std::array<std::uint64_t, 64 * kSteps> cells_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace tidegate::bench
