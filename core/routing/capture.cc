#include "routing/capture.h"

#include "api/body_scan.h"

namespace tidegate::routing {

// One scanner a thread: captures are for plans of several legs, and are not the path of plain requests.
bool find_member(const std::string& json, std::string_view name, std::string& raw_value) noexcept {
  thread_local api::BodyScanner scanner;
  std::string padded;
  padded.reserve(json.size() + api::scan_padding);
  padded = json;
  api::BodyScan scan;
  api::ScanError error;
  if (!scanner.scan(padded, api::PromptMember::none, scan, error)) return false;
  bool found = false;
  for (const auto& member : scan.members) {
    if (member.key != name) continue;
    raw_value.assign(padded, member.value_begin, member.value_end - member.value_begin);
    found = true;  // of several the last counts
  }
  return found;
}

}  // namespace tidegate::routing
