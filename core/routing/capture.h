// What: the top-level members of a drained JSON answer that later legs capture, found in one pass.
// Threads: pure; one at a time. Ownership: values are views into the answer, which must stay.
// Errors: an answer that is no JSON object has no members.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/body_scan.h"

namespace tidegate::routing {

class AnswerMembers {
 public:
  void want(std::string_view name);
  bool any_wanted() const noexcept { return !members_.empty(); }
  // api::scan_padding bytes behind the answer must be readable.
  void scan(api::BodyScanner& scanner, std::string_view answer) noexcept;
  // Its raw JSON; empty: there is none.
  std::string_view find(std::string_view name) const noexcept;

 private:
  std::vector<std::pair<std::string, std::string_view>> members_;  // name, value
};

}  // namespace tidegate::routing
