// What: sets and drops top-level members of a scanned JSON body without re-serialising it: the new body is a
// list of
//   slices of the old one and of inserted bytes.
// Threads: pure; a Splice belongs to one thread.
// Ownership: slices point into the body and into the Splice; both must outlive the sending.
// Errors: none, given a scan of that very body and values that are JSON (valid_edit_value() tells).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/body_scan.h"

namespace tidegate::api {

struct BodyEdit {
  enum class Kind : std::uint8_t { set, drop };
  Kind kind = Kind::set;
  std::string_view name;        // as it is meant, unescaped
  std::string_view value = {};  // of a set: raw JSON
};

// Rules: names are compared unescaped. A set replaces the value of the LAST member of that name (which is the
// one that counts for common parsers) and drops the others before it; without such a member it is appended
// before the closing brace. A drop drops every member of that name, each with one comma. Of several edits of
// a name the last counts. Bytes that no edit touches stay as they were, white space included.
class Splice {
 public:
  Splice() = default;
  Splice(Splice&&) noexcept = default;  // slices stay valid
  Splice& operator=(Splice&&) noexcept = default;

  void apply(std::string_view body, const BodyScan& scan, std::span<const BodyEdit> edits);

  std::span<const std::string_view> slices() const noexcept { return slices_; }
  std::size_t total() const noexcept { return total_; }  // bytes of the new body
  std::string join() const;                              // for tests and for small bodies

 private:
  struct Fate {
    bool keep = true;
    const BodyEdit* edit = nullptr;  // of a kept member: its new value
  };
  void decide(const BodyScan& scan, std::span<const BodyEdit> edits);
  void append_new(std::string_view body, const BodyScan& scan, std::span<const BodyEdit> edits, bool comma);
  void cut(std::string_view body, std::size_t from, std::size_t to, std::string_view instead);
  std::string_view store(std::string_view name, std::string_view value, bool comma);

  std::string arena_;
  std::vector<std::string_view> slices_;
  std::vector<Fate> fates_;
  std::vector<char> used_;  // edits that need no new member
  std::size_t at_ = 0;      // the body is taken over up to here
  std::size_t total_ = 0;
};

// One JSON value and nothing else (slow; for values that come from outside of our own code).
bool valid_edit_value(std::string_view value);

}  // namespace tidegate::api
