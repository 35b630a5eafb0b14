// What: a connection that can be waited for with a limit of time and a stop token: Patience, name lookup,
//   connect, plain bytes.
// Threads: the calling thread; a name lookup runs on a thread of its own that is left behind when the
//   caller's patience ends first (it ends by the resolver's own limit).
// Ownership: PlainConnection owns its descriptor until hand_over(). Patience borrows the stop token.
// Errors: HttpFailure: TG_E_CANCELLED, TG_E_TIMEOUT, TG_E_UNAVAILABLE.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <tidegate/abi.h>

namespace tidegate::plugin {

class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Limit { whole, silence };  // of the exchange, or of the time between two bytes

  Patience(const tg_stop* stop, std::uint32_t ms, Limit limit)
      : stop_(stop), length_(ms), limit_(limit), end_(Clock::now() + length_) {}

  void check(std::string_view doing) const;  // throws when stopped or out of time
  void progress() noexcept {
    if (limit_ == Limit::silence) end_ = Clock::now() + length_;
  }
  // Until the descriptor is ready: true; false at `until`. Throws like check().
  bool wait(int fd, short events, std::string_view doing, Clock::time_point until = Clock::time_point::max());
  Clock::time_point end() const noexcept { return end_; }
  // What a wait may sleep before it looks at the stop token again.
  std::chrono::milliseconds slice() const;

 private:
  const tg_stop* const stop_;
  const std::chrono::milliseconds length_;
  const Limit limit_;
  Clock::time_point end_;
};

class PlainConnection {
 public:
  // Looks the host up and tries its addresses in turn.
  PlainConnection(const std::string& host, std::uint16_t port, const std::string& origin, Patience&);
  ~PlainConnection();
  PlainConnection(const PlainConnection&) = delete;
  PlainConnection& operator=(const PlainConnection&) = delete;

  std::size_t receive(char* to, std::size_t size);  // waits; 0: the peer has ended
  // A peer that no longer reads may have answered already, so that is left for receive() to find out.
  void send(std::string_view bytes);
  void send_last(std::string_view bytes) noexcept;  // as much as goes without waiting
  // The descriptor, open as long as this is used; who asked closes it.
  int hand_over() noexcept {
    owned_ = false;
    return fd_;
  }
  const std::string& origin() const noexcept { return origin_; }

 private:
  const std::string origin_;
  Patience& patience_;
  int fd_ = -1;
  bool owned_ = true;
  bool peer_reads_ = true;
};

}  // namespace tidegate::plugin
