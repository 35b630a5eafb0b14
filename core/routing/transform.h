// What: passes a relayed body through its policy's transform(): a JSON body whole, an event stream event by
// event.
//   An event's payload (its data lines, joined by LF) is replaced by what the policy writes; nothing written
//   drops the event. Other fields of an event and comments pass as they came.
// Threads: its loop's.
// Ownership: holds what is not complete yet: an event, or the JSON body.
// Errors: a transform that fails lets its piece pass unchanged. Over max_held bytes feed() is false: the body
// can't be passed.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace tidegate::routing {

class Transformer {
 public:
  static constexpr std::size_t max_held = 16u << 20;
  // Writes what goes to the client instead of `data`; false: `data` itself.
  using Apply = std::function<bool(std::string_view data, bool sse, bool last, std::string& out)>;

  Transformer(bool event_stream, Apply apply) : event_stream_(event_stream), apply_(std::move(apply)) {}

  bool feed(std::string_view bytes, std::string& out);
  void end(std::string& out);  // nothing follows

 private:
  void event(std::string_view text, std::string& out);

  bool event_stream_;
  Apply apply_;
  std::string held_;
};

}  // namespace tidegate::routing
