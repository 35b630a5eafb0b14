#include "routing/capture.h"

namespace tidegate::routing {

void AnswerMembers::want(std::string_view name) {
  for (const auto& member : members_)
    if (member.first == name) return;
  members_.emplace_back(name, std::string_view());
}

void AnswerMembers::scan(api::BodyScanner& scanner, std::string_view answer) noexcept {
  api::BodyScan scan;
  api::ScanError error;
  if (!scanner.scan(answer, api::PromptMember::none, scan, error)) return;
  for (auto& [name, value] : members_)
    for (const auto& member : scan.members)  // of several the last counts
      if (member.key == name)
        value = answer.substr(member.value_begin, member.value_end - member.value_begin);
}

std::string_view AnswerMembers::find(std::string_view name) const noexcept {
  for (const auto& member : members_)
    if (member.first == name) return member.second;
  return {};
}

}  // namespace tidegate::routing
