// Life of a run: scan, route, retries, the end. The execution of a plan stands in run_plan.cc.
#include "routing/run.h"

#include <algorithm>
#include <utility>

#include "routing/exchange.h"

namespace tidegate::routing {
namespace {

constexpr std::uint32_t starting_poll_ms = 25;
constexpr std::uint32_t first_poll_ms = 25, most_poll_ms = 400;  // of a policy that names no time itself

// Rounded up: who comes back earlier is refused again.
std::uint32_t retry_after_s(const tg_plan& plan) noexcept {
  return std::max(1u, plan.retry_after_ms / 1000 + (plan.retry_after_ms % 1000 != 0));
}

}  // namespace

void append_plain(std::string& out, std::string_view text) {
  for (char c : text.substr(0, 200)) out += c >= 0x20 && c < 0x7f ? c : '?';
}

IoContext::~IoContext() { Run::end_all(*this); }

Run::Run(IoContext& io, Exchange& exchange)
    : io_(io),
      exchange_(&exchange),
      number_(io.next_request_number()),
      began_ns_(io.loop.now_ns()),  // so that its turn in the batch counts as the gateway's own time
      request_(this) {
  next = io_.first_run;
  if (next) next->prev = this;
  io_.first_run = this;
}

Run::~Run() {
  if (listed_) recycle_scan();
  leave_list();
  legs_.clear();
}

void Run::leave_list() noexcept {
  if (!std::exchange(listed_, false)) return;
  unpark();
  (prev ? prev->next : io_.first_run) = next;
  if (next) next->prev = prev;
}

// The loop outlives the context: runs that it will delete have ended, and only let go of the context here.
void Run::end_all(IoContext& io) noexcept {
  while (Run* run = io.first_run) {
    const bool deferred = run->ended_;
    run->leave_list();
    if (!deferred) delete run;
  }
}

std::string_view Run::header(std::string_view name) const noexcept {
  return exchange_ ? exchange_->head().value(name) : std::string_view();
}

// The vectors of a scan go from request to request.
void Run::recycle_scan() noexcept {
  if (scan_.members.capacity() == 0 || io_.spare_scans.size() >= IoContext::most_spare_scans) return;
  scan_.clear();
  io_.spare_scans.push_back(std::move(scan_));
  scan_ = {};
}

void Run::start() {
  if (!io_.spare_scans.empty()) {
    scan_ = std::move(io_.spare_scans.back());
    io_.spare_scans.pop_back();
  }
  body_ = exchange_->connection().take_body();
  if (!exchange_->endpoint().json_body) return route_request();
  if (body_.empty())
    return refuse(api::errors::invalid_json, "the body is empty; expected a JSON object (line 1, column 1)");
  body_.seal();
  if (body_.size() <= IoContext::scan_here || !io_.offload) return scan_body();
  // The run stays while the scan is under way, whatever the client does.
  hold();
  auto error = std::make_shared<api::ScanError>();
  auto ok = std::make_shared<bool>(false);
  const bool taken = io_.offload(
      [this, error, ok, prompt = exchange_->endpoint().prompt] {
        api::BodyScanner scanner;
        *ok = scanner.scan(body_.view(), prompt, scan_, *error);
      },
      [this, error, ok] {
        if (exchange_) scanned(*ok, *error);
        let_go();
      });
  if (taken) return;
  refuse(api::errors::body_budget_exhausted, "too many big bodies wait to be read; try again in a moment", 1);
  let_go();
}

void Run::scan_body() noexcept {
  api::ScanError error;
  const bool ok = io_.scanner.scan(body_.view(), exchange_->endpoint().prompt, scan_, error);
  scanned(ok, error);
}

void Run::scanned(bool ok, const api::ScanError& error) noexcept {
  if (!ok) return refuse({400, error.code}, error.message, 0, error.member);
  route_request();
}

void Run::route_request() noexcept {
  view_ = io_.view.get();
  if (!view_) return refuse(api::errors::no_available_workers, "the gateway is starting", 1);
  graph_ = view_->graph();
  if (io_.access_log) model_ = scan_.model;
  target_ = view_->find(scan_.model, exchange_->head().path);
  route_metrics_ = target_.metrics;
  if (view_->members().empty())
    return refuse(api::errors::no_available_workers,
                  "no worker is registered; add one through discovery or POST /workers", 5);
  if (!target_.model)
    return refuse(api::errors::model_not_found,
                  "the model '" + std::string(scan_.model) +
                      "' is served by no worker; GET /v1/models lists those that are",
                  0, "model");
  if (!target_.route)
    return refuse(api::errors::model_not_found,
                  "no route matches the model '" + std::string(scan_.model) + "' on this path", 0, "model");
  tokens_estimate_ =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(scan_.estimated_tokens(), TG_NONE - 1));
  attempt_plan();
}

void Run::fill_args(tg_pick_args& args) noexcept {
  auto str = [](std::string_view s) { return tg_str{s.data(), s.size()}; };
  const http::RequestHead& head = exchange_->head();
  args.attempt = attempt_;
  args.prior_slot = TG_NONE;
  args.flags = scan_.stream ? std::uint32_t{TG_PICK_STREAM} : 0u;
  if (exchange_->explaining()) args.flags |= TG_PICK_EXPLAIN;
  args.model = str(scan_.model);
  args.path = str(head.path);
  args.body = str(body_.view());
  const std::uint32_t needs = target_.route->policy->traits().needs | target_.route->fallback->traits().needs;
  if (needs & TG_NEED_KEY) {
    std::string_view key = head.value("x-smg-routing-key");
    if (key.empty()) key = head.value("x-session-id");
    if (key.empty()) key = scan_.user;
    args.key = str(key);
    args.key_hash = std::hash<std::string_view>()(key);
  }
  if (needs & TG_NEED_PROMPT) {
    if (spans_.empty()) make_spans();
    args.spans = spans_.data();
    args.span_count = static_cast<std::uint32_t>(spans_.size());
  }
  args.prompt_tokens_est = tokens_estimate_;
  args.max_new_tokens =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(scan_.max_tokens.value_or(TG_NONE), TG_NONE));
  args.batch = std::max(scan_.n, 1u);
  args.request_id = number_;
  args.now_ns = io_.loop.now_ns();
}

void Run::make_spans() noexcept {
  spans_.reserve(scan_.spans.size());
  for (const auto& piece : scan_.spans) {
    tg_span span{};
    if (piece.role == "system" || piece.role == "developer") span.role = TG_SPAN_SYSTEM;
    if (piece.role == "user") span.role = TG_SPAN_USER;
    if (piece.role == "assistant") span.role = TG_SPAN_ASSISTANT;
    if (piece.role == "tool") span.role = TG_SPAN_TOOL;
    if (piece.escaped) span.flags |= TG_SPAN_ESCAPED;
    if (piece.kind == api::PromptSpan::Kind::token_ids) span.flags |= TG_SPAN_TOKENS;
    if (piece.kind == api::PromptSpan::Kind::image) span.flags |= TG_SPAN_MEDIA;
    span.bytes = {piece.data, piece.size};
    spans_.push_back(span);
  }
}

void Run::attempt_plan() noexcept {
  tg_pick_args args{};
  fill_args(args);
  request_.set_body_editable(scan_.close != 0);
  const Choice choice = io_.selector.choose(*view_, target_, request_, args, tried_);
  switch (choice.kind) {
    case Choice::Kind::select: return begin_plan(choice);
    case Choice::Kind::wait: return park(choice.plan->retry_after_ms);
    case Choice::Kind::shed:
      return refuse({429, "shed_by_policy"}, "the fleet is too busy for this request",
                    retry_after_s(*choice.plan));
    case Choice::Kind::fail:
      if (attempt_ > 0) return fail_client(last_failure_);
      return refuse(api::errors::server_selection_failed,
                    "the routing policy found no worker for this request", retry_after_s(*choice.plan));
    case Choice::Kind::no_candidates: break;
  }
  // After a failed attempt the worker's failure says more than "nobody is left".
  if (attempt_ > 0) return fail_client(last_failure_);
  // Nobody is ready, but of some it is not known yet: a start, or a fleet that was exchanged. Their first
  // health checks decide.
  if (target_.model->starting > 0) return park(starting_poll_ms);
  if (route_metrics_) route_metrics_->no_worker.add();
  refuse(api::errors::no_available_workers,
         "no worker that serves '" + std::string(scan_.model) + "' is ready (" +
             std::to_string(target_.model->registered) + " registered)",
         2);
}

// The policy wants to be asked again when something has changed. What wakes a run tells that at once; its own
// timer is for what nobody tells. Membership changes bring a new view, so the newest is taken then.
void Run::park(std::uint32_t ms) noexcept {
  const std::uint64_t now = io_.loop.now_ns();
  if (parked_since_ns_ == 0) {
    parked_since_ns_ = now;
    poll_ms_ = first_poll_ms;
    io_.waiting.add(*this);
  }
  const std::uint64_t waited_ms = (now - parked_since_ns_) / 1'000'000;
  if (waited_ms >= target_.route->wait_ms)
    return refuse(api::errors::no_available_workers, "no worker became free within the waiting time", 2);
  if (ms == 0) {
    ms = poll_ms_;
    poll_ms_ = std::min(2 * poll_ms_, most_poll_ms);
  }
  const std::uint64_t left = target_.route->wait_ms - waited_ms;
  io_.loop.arm(parked_, io_.view.newer() ? 0 : std::min<std::uint64_t>(std::max(ms, 10u), left));
}

void Run::unpark() noexcept {
  parked_.disarm();
  if (parked_since_ns_ == 0) return;
  io_.waiting.remove(*this);
  began_ns_ += io_.loop.now_ns() - parked_since_ns_;  // nothing of that was the gateway's own time
  parked_since_ns_ = 0;
}

bool Run::wake(std::uint32_t ms) noexcept {
  const std::uint64_t at = io_.loop.now_ms() + ms;
  if (parked_.armed() && parked_.expiry() <= at) return false;
  io_.loop.arm_at(parked_, at);
  return true;
}

void Run::on_parked() noexcept {
  if (exchange_) route_request();
}

bool Run::may_retry(std::uint32_t failed_slot) const noexcept {
  if (!exchange_ || committed_ || attempt_ + 1 >= target_.route->attempts || !view_) return false;
  return Selector::others_left(*view_, target_, tried_, failed_slot);
}

bool Run::retryable_status(std::uint32_t status) const noexcept {
  const auto& statuses = target_.route->retry_statuses;
  return std::find(statuses.begin(), statuses.end(), status) != statuses.end();
}

std::string_view Run::policy_name() const noexcept {
  if (!target_.route) return {};
  return fallback_ ? target_.route->fallback_name : target_.route->policy_name;
}

std::string_view Run::relay_closing() const noexcept {
  for (std::uint32_t i = 0; i < plan_count_; ++i)
    if (const Leg& leg = *legs_[plan_first_ + i]; leg.spec().response == TG_RESPONSE_RELAY)
      return leg.open_event_closing();
  return {};
}

std::string Run::explain() const {
  std::string text = "route=" + std::string(route_name()) + "; policy=" + std::string(policy_name());
  if (fallback_) text += " (fallback)";
  for (std::uint32_t i = 0; i < plan_count_; ++i) {
    const Leg& leg = *legs_[plan_first_ + i];
    text += "; worker=";
    append_plain(text, leg.worker()->spec().id);
    if (plan_count_ > 1) text += std::string(" (") + fleet::role_name(leg.spec().stage) + ")";
  }
  text += "; attempt=" + std::to_string(attempt_ + 1);
  if (!reason_.empty()) text += "; why=" + reason_;
  return text;
}

void Run::refuse(api::ErrorCode code, std::string_view message, std::uint32_t retry_after_s,
                 std::string_view param) noexcept {
  if (exchange_) exchange_->fail(code, message, retry_after_s, param);
}

void Run::fail_client(const LegFailure& failure) noexcept {
  refuse(failure.code, failure.detail, failure.code.status == 503 ? 1 : 0);
}

void Run::client_writable() noexcept {
  for (const auto& leg : legs_)
    if (!leg->ended() && leg->spec().response == TG_RESPONSE_RELAY) leg->resume();
}

void Run::detach(bool client_gone) noexcept {
  exchange_ = nullptr;
  unpark();
  if (client_gone) cancel_plan();
  // Without the client's head nothing can be sent any more.
  for (const auto& leg : legs_)
    if (leg->waiting()) leg->cancel();
  end_if_done();
}

// From here on the client has bytes: no retry, and what only a retry needs can go.
void Run::commit() noexcept {
  if (committed_) return;
  committed_ = true;
  release_unneeded();
}

// Asked again whenever a leg gets on: lingering legs of earlier attempts borrow the body too.
void Run::release_unneeded() noexcept {
  if (!committed_ || !listed_) return;
  for (const auto& leg : legs_)
    if (leg->waiting() || leg->needs_body()) return;
  view_.reset();
  target_.model = nullptr;
  body_.clear();
  recycle_scan();
  spans_ = {};
}

void Run::let_go() noexcept {
  --scans_;
  end_if_done();
}

void Run::end_if_done() noexcept {
  if (exchange_ || ended_ || starting_ || scans_ != 0) return;
  for (const auto& leg : legs_)
    if (!leg->ended()) return;
  ended_ = true;
  io_.loop.defer_delete(std::unique_ptr<http::Deferred>(this));
}

}  // namespace tidegate::routing
