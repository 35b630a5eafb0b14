#include "api/splice.h"

#include "api/errors.h"

namespace tidegate::api {

namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

// Members are walked once, in order. A member that goes takes along the comma that separates it from the kept
// member before it, or, if none is kept before it, the one behind it; so whatever is kept stays separated
// exactly once.
void Splice::apply(std::string_view body, const BodyScan& scan, std::span<const BodyEdit> edits) {
  slices_.clear();
  arena_.clear();
  at_ = 0;
  total_ = 0;
  // Views into the arena need it to stay in place: reserve for the worst case, where each byte of a name is
  // escaped.
  std::size_t most = 32;  // beyond the short-string form, so that views survive a move of the Splice
  for (const BodyEdit& edit : edits) most += 6 * edit.name.size() + edit.value.size() + 8;
  arena_.reserve(most);

  decide(scan, edits);
  const std::size_t count = scan.members.size();
  std::size_t last_kept = count;  // count = none yet
  for (std::size_t i = 0; i < count; ++i) {
    const Member& member = scan.members[i];
    const Fate& fate = fates_[i];
    if (fate.keep) {
      // Members dropped before the first kept one go with everything between it and them.
      if (last_kept == count && i > 0) cut(body, scan.members[0].key_begin, member.key_begin, {});
      if (fate.edit != nullptr)
        cut(body, member.value_begin, member.value_end, store({}, fate.edit->value, false));
      last_kept = i;
    } else if (last_kept != count) {
      cut(body, scan.members[i - 1].value_end, member.value_end, {});
    }
  }
  if (count > 0 && last_kept == count)
    cut(body, scan.members[0].key_begin, scan.members[count - 1].value_end, {});
  append_new(body, scan, edits, last_kept != count);
  cut(body, body.size(), body.size(), {});
}

// For each member: does it stay, and with which value. Of equal names only the last is kept by a set.
void Splice::decide(const BodyScan& scan, std::span<const BodyEdit> edits) {
  fates_.assign(scan.members.size(), Fate{});
  used_.assign(edits.size(), 0);
  for (std::size_t e = edits.size(); e-- > 0;) {
    for (std::size_t later = e + 1; later < edits.size(); ++later) {
      if (edits[later].name == edits[e].name) used_[e] = 1;  // overridden
    }
    if (used_[e] != 0) continue;
    bool last = true;
    for (std::size_t m = scan.members.size(); m-- > 0;) {
      if (scan.members[m].key != edits[e].name) continue;
      const bool set = edits[e].kind == BodyEdit::Kind::set && last;
      fates_[m] = {set, set ? &edits[e] : nullptr};
      last = false;
    }
    if (edits[e].kind == BodyEdit::Kind::drop || !last) used_[e] = 1;
  }
}

void Splice::append_new(std::string_view body, const BodyScan& scan, std::span<const BodyEdit> edits,
                        bool comma) {
  // Right behind the last member, before white space that leads to the closing brace.
  const std::size_t end = scan.members.empty() ? scan.open + 1 : scan.members.back().value_end;
  for (std::size_t e = 0; e < edits.size(); ++e) {
    if (used_[e] != 0) continue;
    cut(body, end, end, store(edits[e].name, edits[e].value, comma));
    comma = true;
  }
}

// Takes the body over up to `from`, then `instead`, and goes on at `to`. Cuts come in ascending order, and
// may touch.
void Splice::cut(std::string_view body, std::size_t from, std::size_t to, std::string_view instead) {
  if (from > at_) slices_.push_back(body.substr(at_, from - at_));
  if (from > at_) total_ += from - at_;
  if (!instead.empty()) slices_.push_back(instead);
  total_ += instead.size();
  if (to > at_) at_ = to;
}

std::string_view Splice::store(std::string_view name, std::string_view value, bool comma) {
  while (!value.empty() && blank(value.front())) value.remove_prefix(1);
  while (!value.empty() && blank(value.back())) value.remove_suffix(1);
  const std::size_t begin = arena_.size();
  if (comma) arena_ += ',';
  if (name.data() != nullptr) {
    arena_ += '"';
    append_json_escaped(arena_, name);
    arena_ += "\":";
  }
  arena_ += value;
  return std::string_view(arena_).substr(begin);
}

std::string Splice::join() const {
  std::string out;
  out.reserve(total_);
  for (std::string_view slice : slices_) out += slice;
  return out;
}

}  // namespace tidegate::api
