// What: passes a relayed body through its policy's transform(): a JSON body whole, an event stream event by
// event.
//   An event's payload (its data lines, joined by LF) is replaced by what the policy writes; nothing written
//   drops the event. Other fields of an event and comments pass as they came.
// Threads: its loop's.
// Ownership: holds what is not complete yet: an event, or the JSON body.
// Errors: a transform that fails lets its piece pass unchanged. Over max_held bytes, or the budget, feed() is
// false: the body can't be passed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "http/buffer.h"

namespace tidegate::routing {

class Transformer {
 public:
  static constexpr std::size_t max_held = 16u << 20;
  // Writes what goes to the client instead of `data`; false: `data` itself.
  using Apply = std::function<bool(std::string_view data, bool sse, bool last, std::string& out)>;

  // What is held beyond a few KiB is charged to `budget`; null: to nobody.
  Transformer(bool event_stream, Apply apply, http::BodyBudget* budget = nullptr)
      : event_stream_(event_stream), apply_(std::move(apply)), budget_(budget) {}
  ~Transformer() { charge(0); }
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  bool feed(std::string_view bytes, std::string& out);
  void end(std::string& out);  // nothing follows

 private:
  std::size_t event_end() noexcept;
  void event(std::string_view text, std::string& out);
  bool charge(std::size_t bytes) noexcept;

  bool event_stream_;
  Apply apply_;
  http::BodyBudget* budget_;
  std::uint64_t charged_ = 0;
  std::string held_;
  // Of what is held: where the line begins that has not ended yet, and up to where no end of it was found.
  std::size_t line_at_ = 0, searched_ = 0;
};

}  // namespace tidegate::routing
