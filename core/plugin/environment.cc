#include "plugin/environment.h"

#include <bit>
#include <chrono>
#include <random>

namespace tidegate::plugin {
namespace {

// xoshiro256** by Blackman and Vigna; the seed's quality comes from the system.
class Xoshiro {
 public:
  Xoshiro() {
    std::random_device device;
    for (std::uint64_t& word : state_) word = std::uint64_t{device()} << 32 | device();
    state_[0] |= 1;  // all zero is the one state it can't leave
  }
  std::uint64_t next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

 private:
  std::uint64_t state_[4];
};

template <class Clock, class Unit>
std::uint64_t now() noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<Unit>(Clock::now().time_since_epoch()).count());
}

}  // namespace

std::uint64_t HostEnvironment::monotonic_ns() noexcept {
  return now<std::chrono::steady_clock, std::chrono::nanoseconds>();
}
std::uint64_t HostEnvironment::unix_ms() noexcept {
  return now<std::chrono::system_clock, std::chrono::milliseconds>();
}
std::uint64_t HostEnvironment::random() noexcept {
  thread_local Xoshiro generator;
  return generator.next();
}

}  // namespace tidegate::plugin
