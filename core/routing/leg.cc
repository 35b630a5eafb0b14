// The life of a leg: start, answer, failure, cancellation, end. The relay to the client stands in
// leg_relay.cc, answers that are kept for other legs in leg_drain.cc.
#include "routing/leg.h"

#include <algorithm>
#include <cmath>

#include "http/header_rules.h"
#include "routing/cancel_call.h"
#include "routing/exchange.h"
#include "routing/run.h"

namespace tidegate::routing {
namespace {

std::string_view view(const tg_str& s) noexcept { return {s.ptr ? s.ptr : "", s.ptr ? s.len : 0}; }

std::string_view media_type(std::string_view content_type) noexcept {
  const std::string_view type = content_type.substr(0, content_type.find(';'));
  return type.substr(0, type.find_last_not_of(" \t") + 1);
}

LegFailure failure_of(http::UpstreamFault fault, std::string_view detail, const fleet::Worker& worker) {
  LegFailure f;
  using http::UpstreamFault;
  switch (fault) {
    case UpstreamFault::connect_failed: f.code = api::errors::upstream_connect_failed; break;
    case UpstreamFault::no_descriptor: f.code = api::errors::out_of_descriptors; break;
    case UpstreamFault::connect_timeout:
    case UpstreamFault::first_byte_timeout:
    case UpstreamFault::idle_timeout: f.code = api::errors::upstream_timeout; break;
    case UpstreamFault::bad_response: f.code = api::errors::upstream_invalid_response; break;
    case UpstreamFault::reset:
    case UpstreamFault::cut_short: f.code = api::errors::upstream_reset; break;
  }
  f.status = f.code.status == 504 ? TG_E_TIMEOUT : TG_E_UNAVAILABLE;
  f.detail = "worker " + worker.spec().id + ": " + std::string(http::fault_name(fault)) + " (" +
             std::string(detail) + ")";
  return f;
}

}  // namespace

Leg::Leg(Run& run, const tg_leg& spec, std::uint32_t index, std::uint32_t attempt, fleet::WorkerPtr worker,
         plugin::PolicyNode& policy, std::shared_ptr<const RouteGraph> graph) noexcept
    : run_(run),
      policy_(policy),
      graph_(std::move(graph)),
      spec_(spec),
      worker_(std::move(worker)),
      drained_(run.io().budget),
      index_(index),
      attempt_(attempt),
      tokens_counted_(run.tokens_estimate()),
      selected_ns_(run.io().loop.now_ns()) {
  spec_.generation = worker_->generation();
  fleet::live_add(worker_->live().inflight, 1);
  fleet::live_add(worker_->live().inflight_tokens, tokens_counted_);
}

Leg::~Leg() {
  // Only at shut-down is a leg destroyed before its end.
  if (state_ == State::ended) return;
  if (call_) call_->cancel();
  state_ = State::started;
  end(TG_OUTCOME_CANCELLED, TG_E_CANCELLED);
}

const http::StreamStats Leg::stats() const noexcept {
  http::StreamStats stats;
  if (const auto* sse = std::get_if<http::SseObserver>(&observer_)) stats = sse->stats();
  if (usage_.known()) stats.usage = usage_;
  return stats;
}

std::string_view Leg::open_event_closing() const noexcept {
  const auto* sse = std::get_if<http::SseObserver>(&observer_);
  return sse ? sse->closing() : std::string_view();
}

// False: the body can't be edited.
bool Leg::make_body() noexcept {
  const std::string_view body = run_.body();
  if (spec_.edit_count == 0 && spec_.capture_count == 0) {
    as_it_came_ = {const_cast<char*>(body.data()), body.size()};
    if (!body.empty()) pieces_ = {&as_it_came_, 1};
    return true;
  }
  if (run_.scan().close == 0) return false;
  std::vector<api::BodyEdit> edits;
  for (std::uint32_t i = 0; i < spec_.edit_count; ++i) {
    const tg_edit& edit = spec_.edits[i];
    const bool drop = edit.op == TG_EDIT_DROP;
    edits.push_back(
        {drop ? api::BodyEdit::Kind::drop : api::BodyEdit::Kind::set, view(edit.name), view(edit.value)});
  }
  capture_into(edits);
  splice_ = std::make_unique<api::Splice>();
  splice_->apply(body, run_.scan(), edits);
  for (std::string_view slice : splice_->slices())
    if (!slice.empty()) edited_.push_back({const_cast<char*>(slice.data()), slice.size()});
  pieces_ = edited_;
  return true;
}

bool Leg::make_head(std::string& out, std::size_t body_bytes) noexcept {
  Exchange& exchange = *run_.exchange();
  const http::RequestHead& client = exchange.head();
  const fleet::Endpoint& endpoint = worker_->endpoint();
  const std::string_view path = spec_.path.len ? view(spec_.path) : client.target;
  std::string target;
  http::ForwardContext context;
  context.authority = endpoint.authority;
  if (!endpoint.base_path.empty() || spec_.path.len) {
    target = endpoint.base_path + std::string(path);
    context.target = target;
  }
  context.client_address = exchange.client_address();
  context.request_id = exchange.request_id();
  context.traceparent = exchange.traceparent();
  // A worker's own key goes instead of the client's.
  if (!endpoint.authorization.empty()) context.authorization = endpoint.authorization;
  if (body_bytes > 0 || client.has_body() || client.content_length) context.content_length = body_bytes;
  std::vector<http::HeaderEdit> edits;
  for (std::uint32_t i = 0; i < spec_.header_count; ++i) {
    const tg_edit& edit = spec_.headers[i];
    const bool drop = edit.op == TG_EDIT_DROP;
    edits.push_back({drop ? http::HeaderEdit::Kind::drop : http::HeaderEdit::Kind::set, view(edit.name),
                     view(edit.value)});
  }
  context.edits = edits;
  return http::write_request_head(client, context, out).ok;
}

void Leg::start() noexcept {
  state_ = State::started;
  started_ns_ = run_.io().loop.now_ns();
  if (!make_body())
    return fail({api::errors::plan_invalid, TG_E_INVALID, 0, "the plan edits a body that is no JSON object"});
  std::size_t bytes = 0;
  for (const iovec& piece : pieces_) bytes += piece.iov_len;
  std::string& head = run_.io().scratch;
  head.clear();
  if (!make_head(head, bytes))
    return fail({api::errors::plan_invalid, TG_E_INVALID, 0, "the plan edits a header that is not its own"});
  if (spec_.time_limit_ms) run_.io().loop.arm(limit_, spec_.time_limit_ms);
  if (worker_->metrics()) worker_->metrics()->requests.add();
  http::UpstreamRequest request{.head = head,
                                .body = pieces_.data(),
                                .body_count = pieces_.size(),
                                .is_head = run_.exchange()->head().method == "HEAD",
                                .timeouts = run_.route().timeouts};
  call_ = run_.io().pool.start(worker_->slot(), worker_->generation(), worker_->endpoint().address, request,
                               *this);
}

void Leg::pause() noexcept {
  if (call_) call_->pause();
}
void Leg::resume() noexcept {
  if (call_) call_->resume();
}

void Leg::on_request_sent() noexcept {
  sent_ns_ = run_.io().loop.now_ns();
  run_.leg_sent();
}

void Leg::on_connected(std::uint64_t took_ns) noexcept {
  const double seconds = static_cast<double>(took_ns) * 1e-9;
  run_.io().metrics.upstream_connect.observe(seconds);
  if (worker_->metrics()) worker_->metrics()->connect.observe(seconds);
}

void Leg::on_limit() noexcept {
  if (ended()) return;
  if (lingering_) return cut();
  if (state_ == State::answered) return;
  call_->cancel();
  call_ = nullptr;
  send_cancel();
  fail({api::errors::upstream_timeout, TG_E_TIMEOUT, 0,
        "worker " + worker_->spec().id + ": no answer within the leg's " +
            std::to_string(spec_.time_limit_ms) + " ms"});
}

void Leg::on_response_head(const http::ResponseHead& head, http::BodyKind kind) noexcept {
  http_status_ = head.status;
  const bool good = head.status >= 200 && head.status < 300;
  if (lingering_) {
    if (!good) cut();  // else the first item is still to come
    return;
  }
  if (!good) {
    const bool relayed = spec_.response == TG_RESPONSE_RELAY && spec_.relay_errors;
    const bool again = spec_.on_failure == TG_FAILURE_ANEW && run_.retryable_status(head.status) &&
                       run_.may_retry(worker_->slot());
    if (!relayed || again) {
      call_->cancel();
      call_ = nullptr;
      // A redirection without its Location, or a "not modified" with a body, would be nonsense.
      const bool clients_fault = head.status >= 400 && head.status < 500;
      api::ErrorCode code{clients_fault ? static_cast<int>(head.status) : 502, "upstream_status"};
      return fail({code, TG_E_UNAVAILABLE, head.status,
                   "worker " + worker_->spec().id + " answered " + std::to_string(head.status)});
    }
    soft_failure_ = head.status >= 500 || head.status == 429;
  }
  if (spec_.response != TG_RESPONSE_RELAY) {
    if (spec_.response == TG_RESPONSE_DISCARD) answer();
    return;
  }
  const std::string_view type = media_type(head.value("content-type"));
  event_stream_ = http::iequals(type, "text/event-stream");
  if (event_stream_)
    observer_.emplace<http::SseObserver>();
  else if (http::iequals(type, "application/json"))
    observer_.emplace<http::JsonTailObserver>();
  fixed_ = kind == http::BodyKind::length;
  length_ = head.content_length.value_or(0);
  append_response_headers(head, head_block_);
  if (kind == http::BodyKind::none) relay_empty(head);
}

void Leg::on_response_body(const http::BodyPart& part) noexcept {
  if (part.bytes > 0) note_first_byte();
  if (lingering_) return part.last ? void() : cut();  // what ends at once needs no cancel action
  switch (spec_.response) {
    case TG_RESPONSE_RELAY: return relay(part);
    case TG_RESPONSE_DRAIN: return drain(part);
    default: return;
  }
}

void Leg::answer() noexcept {
  if (state_ != State::started) return;
  state_ = State::answered;
  limit_.disarm();
  run_.leg_answered(*this);
}

void Leg::on_response_end() noexcept {
  call_ = nullptr;
  if (spec_.response == TG_RESPONSE_DRAIN && !lingering_) {
    drained_.seal();
    usage_ = http::read_usage(drained_.view(), false);
    want_members();
    if (members_.any_wanted()) return scan_answer();
  }
  response_ended();
}

void Leg::response_ended() noexcept {
  ok_ = true;
  if (lingering_) return cut();
  const bool was_answered = state_ == State::answered;
  if (const auto* sse = std::get_if<http::SseObserver>(&observer_)) usage_ = sse->stats().usage;
  if (soft_failure_) count_failure({.http_status = http_status_});
  end(soft_failure_ ? TG_OUTCOME_FAILED : TG_OUTCOME_OK, soft_failure_ ? TG_E_UNAVAILABLE : TG_OK);
  if (!was_answered) run_.leg_answered(*this);
  run_.leg_ended(*this);
}

void Leg::on_fault(http::UpstreamFault fault, std::string_view detail) noexcept {
  call_ = nullptr;
  if (lingering_) return cut();
  if (said_all()) return finish();
  fail(failure_of(fault, detail, *worker_));
}

void Leg::fail(LegFailure failure) noexcept {
  if (ended()) return;
  failure.http_status = http_status_;
  if (run_.committed() && spec_.response == TG_RESPONSE_RELAY)
    if (const auto* sse = std::get_if<http::SseObserver>(&observer_)) usage_ = sse->stats().usage;
  count_failure(failure);
  end(TG_OUTCOME_FAILED, failure.status);
  run_.leg_failed(*this, failure);
}

void Leg::count_failure(const LegFailure& failure) noexcept {
  // Our own shortage of descriptors or of memory is no worker's failure.
  if (!worker_->metrics() || failure.code.code == api::errors::out_of_descriptors.code ||
      failure.code.code == api::errors::body_budget_exhausted.code)
    return;
  using telemetry::WorkerError;
  WorkerError kind = WorkerError::reset;
  if (failure.code.code == api::errors::upstream_connect_failed.code) kind = WorkerError::connect;
  if (failure.code.code == api::errors::upstream_timeout.code) kind = WorkerError::timeout;
  if (failure.code.code == api::errors::upstream_invalid_response.code) kind = WorkerError::protocol;
  if (failure.http_status >= 500) kind = WorkerError::status_5xx;
  if (failure.http_status >= 400 && failure.http_status < 500) kind = WorkerError::status_4xx;
  worker_->metrics()->errors[static_cast<std::size_t>(kind)].add();
}

void Leg::cancel() noexcept {
  if (ended() || lingering_) return;
  if (state_ == State::waiting) {
    end(TG_OUTCOME_NEVER_SENT, TG_E_CANCELLED);
    return run_.leg_gone(*this);
  }
  // Its worker still receives KV from another: tearing it down now can crash or leak on the engine.
  if (spec_.cancel.when == TG_CANCEL_AFTER_FIRST_ITEM && sent() && first_byte_ns_ == 0 && call_) {
    lingering_ = true;
    call_->no_resend();  // nobody wants the answer, and the run may let go of the body
    call_->resume();
    const std::uint32_t wait =
        spec_.time_limit_ms ? spec_.time_limit_ms : run_.route().timeouts.first_byte_ms;
    if (!limit_.armed()) run_.io().loop.arm(limit_, wait);
    return;
  }
  cut();
}

void Leg::cut() noexcept {
  if (ended()) return;
  lingering_ = false;
  if (call_) call_->cancel();
  call_ = nullptr;
  send_cancel();
  end(TG_OUTCOME_CANCELLED, TG_E_CANCELLED);
  run_.leg_gone(*this);
}

// Only for what the worker has whole and has not answered whole.
void Leg::send_cancel() noexcept {
  if (spec_.cancel.method.len == 0 || !sent() || ok_ || whole_) return;
  CancelCall::send(run_.io(), *worker_, view(spec_.cancel.method), view(spec_.cancel.path),
                   view(spec_.cancel.body));
}

void Leg::end(std::uint32_t outcome, tg_status status) noexcept {
  state_ = State::ended;
  outcome_ = outcome;
  limit_.disarm();
  fleet::live_sub(worker_->live().inflight, 1);
  fleet::live_sub(worker_->live().inflight_tokens, tokens_counted_);
  using telemetry::LegOutcome;
  LegOutcome kind = LegOutcome::dropped;
  if (outcome == TG_OUTCOME_OK) kind = LegOutcome::done;
  if (outcome == TG_OUTCOME_CANCELLED) kind = LegOutcome::cancelled;
  if (outcome == TG_OUTCOME_FAILED)
    kind = status == TG_E_TIMEOUT ? LegOutcome::timeout
           : sent_ns_ == 0        ? LegOutcome::refused
                                  : LegOutcome::failed;
  run_.io().metrics.legs[static_cast<std::size_t>(kind)].add();
  complete(status);
  run_.io().waiting.leg_ended(run_);
}

void Leg::complete(tg_status status) noexcept {
  const std::uint64_t now = run_.io().loop.now_ns();
  auto tokens = [](std::int64_t n) { return n < 0 ? TG_NONE : static_cast<std::uint32_t>(n); };
  tg_completion c{};
  c.size = sizeof c;
  c.slot = worker_->slot();
  c.generation = worker_->generation();
  c.attempt = attempt_;
  c.leg = index_;
  c.outcome = outcome_;
  c.status = status;
  c.http_status = http_status_;
  c.request_id = run_.number();
  c.prompt_tokens_est = tokens_counted_;
  c.prompt_tokens = tokens(usage_.prompt);
  c.cached_tokens = tokens(usage_.cached);
  c.output_tokens = tokens(usage_.completion);
  c.output_events = static_cast<std::uint32_t>(stats().token_events);
  c.stage = spec_.stage;
  c.queue_us = sent_ns_ > selected_ns_ ? (sent_ns_ - selected_ns_) / 1000 : 0;
  c.ttft_us = sent() && first_byte_ns_ > sent_ns_ ? (first_byte_ns_ - sent_ns_) / 1000 : 0;
  c.total_us = sent() && now > sent_ns_ ? (now - sent_ns_) / 1000 : 0;
  policy_.complete(run_.request(), spec_.cookie, spec_.ticket, c);
}

}  // namespace tidegate::routing
