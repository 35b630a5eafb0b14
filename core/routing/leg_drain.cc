// Answers that are kept: draining them, and what later legs capture of them. The life of a leg stands in
// leg.cc.
#include "routing/leg.h"
#include "routing/run.h"

namespace tidegate::routing {
namespace {

constexpr std::size_t max_drained = 16u << 20;

std::string_view view(const tg_str& s) noexcept { return {s.ptr ? s.ptr : "", s.ptr ? s.len : 0}; }

}  // namespace

// The required member that a later leg wants and this leg's drained answer lacks; empty: all are there.
std::string_view Leg::missing_member() const noexcept {
  for (std::uint32_t next = index_ + 1; const Leg* leg = run_.plan_leg(next); ++next) {
    for (std::uint32_t i = 0; i < leg->spec().capture_count; ++i) {
      const tg_capture& capture = leg->spec().captures[i];
      if (!capture.required || capture.legs_back != next - index_) continue;
      if (members_.find(view(capture.member)).empty()) return view(capture.member);
    }
  }
  return {};
}

void Leg::want_members() noexcept {
  for (std::uint32_t next = index_ + 1; const Leg* leg = run_.plan_leg(next); ++next)
    for (std::uint32_t i = 0; i < leg->spec().capture_count; ++i)
      if (leg->spec().captures[i].legs_back == next - index_)
        members_.want(view(leg->spec().captures[i].member));
}

// A required member that is not there was the earlier leg's failure, and whoever ignores that goes on without
// it.
void Leg::capture_into(std::vector<api::BodyEdit>& edits) noexcept {
  for (std::uint32_t i = 0; i < spec_.capture_count; ++i) {
    const tg_capture& capture = spec_.captures[i];
    const Leg* from = run_.plan_leg(index_ - capture.legs_back);
    if (!from || !from->answered()) continue;
    const std::string_view value = from->member(view(capture.member));
    if (value.empty()) continue;
    const std::string_view into = view(capture.into).empty() ? view(capture.member) : view(capture.into);
    edits.push_back({api::BodyEdit::Kind::set, into, value});
  }
}

void Leg::drain(const http::BodyPart& part) noexcept {
  auto status = http::Body::Status::ok;
  for (std::size_t i = 0; i < part.count && status == http::Body::Status::ok; ++i)
    status = drained_.append({static_cast<const char*>(part.pieces[i].iov_base), part.pieces[i].iov_len});
  if (status == http::Body::Status::ok && drained_.size() <= max_drained) return;
  call_->cancel();
  call_ = nullptr;
  send_cancel();
  if (status == http::Body::Status::ok)
    return fail({api::errors::upstream_response_too_large, TG_E_LIMIT, http_status_,
                 "worker " + worker_->spec().id + ": a drained response is larger than 16 MiB"});
  fail({api::errors::body_budget_exhausted, TG_E_LIMIT, http_status_,
        "all buffered bodies together are over server.body_budget; try again"});
}

// Off the I/O thread when it is big. The leg may be cut off meanwhile; the run stays.
void Leg::scan_answer() noexcept {
  limit_.disarm();
  whole_ = true;
  IoContext& io = run_.io();
  if (drained_.size() <= IoContext::scan_here || !io.offload) {
    api::BodyScanner big;
    members_.scan(drained_.size() <= IoContext::scan_here ? io.scanner : big, drained_.view());
    return answer_scanned();
  }
  run_.hold();
  io.offload(
      [this] {
        api::BodyScanner scanner;
        members_.scan(scanner, drained_.view());
      },
      [this] {
        if (!ended()) answer_scanned();
        run_.let_go();
      });
}

void Leg::answer_scanned() noexcept {
  if (const std::string_view name = missing_member(); !name.empty())
    return fail({api::errors::upstream_invalid_response, TG_E_INVALID, http_status_,
                 "worker " + worker_->spec().id + ": the answer has no member '" + std::string(name) +
                     "', which the next leg needs"});
  response_ended();
}

}  // namespace tidegate::routing
