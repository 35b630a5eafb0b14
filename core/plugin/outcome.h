// What: a value, or the reason why there is none.
// Threads: a plain value.
// Ownership: owns what it holds.
// Errors: a Refusal says what was expected, what was found and what to do; `where` is a JSON
//   pointer into a plugin's configuration when the configuration is at fault.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace tidegate::plugin {

struct Refusal {
  std::string text;
  std::string where;
};

template <class T>
class Outcome {
 public:
  Outcome(T value) : held_(std::move(value)) {}
  Outcome(Refusal refusal) : held_(std::move(refusal)) {}

  explicit operator bool() const noexcept { return held_.index() == 0; }
  T& operator*() & { return std::get<0>(held_); }
  T&& operator*() && { return std::get<0>(std::move(held_)); }
  const T& operator*() const& { return std::get<0>(held_); }
  T* operator->() { return &std::get<0>(held_); }
  const Refusal& refusal() const { return std::get<1>(held_); }

 private:
  std::variant<T, Refusal> held_;
};

}  // namespace tidegate::plugin
