// What: one client request being served: choosing, executing the plan's legs, retries, and the relay to the
// client.
//   A run outlives its client while a leg may not be cut off yet, and ends itself when nothing is left to do.
// Threads: its loop's.
// Ownership: owns body, scan, arena and legs; holds the view while it may still choose, and the graph until
// its last
//   complete(). Owns itself: deleted through the loop once the exchange is detached and all legs have ended.
// Errors: the client gets the envelope of api/errors.h, or an SSE error event once bytes have been relayed.
#pragma once

#include <tidegate/plugin.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/body_scan.h"
#include "http/buffer.h"
#include "http/event_loop.h"
#include "http/server_connection.h"
#include "plugin/request.h"
#include "routing/io_context.h"
#include "routing/leg.h"
#include "routing/pooled.h"

namespace tidegate::routing {

class Exchange;

// As a header's value may hold it: others' words, bounded, with `?` for what is not printable ASCII.
void append_plain(std::string& out, std::string_view text);

class Run final : public http::Deferred, public Pooled<Run>, private plugin::HeaderSource {
 public:
  Run(IoContext& io, Exchange& exchange);
  ~Run() override;
  static void end_all(IoContext& io) noexcept;  // the context ends

  // The body is there. The exchange gets exactly one answer, now or later, unless it detaches first.
  void start();
  void client_writable() noexcept;
  // The client has gone, or the exchange has its answer: it will not be touched again.
  void detach(bool client_gone) noexcept;

  // For legs.
  IoContext& io() noexcept { return io_; }
  Exchange* exchange() noexcept { return exchange_; }
  tg_request& request() noexcept { return request_; }
  const Route& route() const noexcept { return *target_.route; }
  const telemetry::RouteMetrics* route_metrics() const noexcept { return route_metrics_.get(); }
  std::string_view body() const noexcept { return body_.view(); }
  const api::BodyScan& scan() const noexcept { return scan_; }
  std::uint64_t number() const noexcept { return number_; }
  std::uint32_t tokens_estimate() const noexcept { return tokens_estimate_; }
  bool committed() const noexcept { return committed_; }
  bool transforming() const noexcept { return transform_; }
  Leg* plan_leg(std::uint32_t index) noexcept;
  bool may_retry(std::uint32_t failed_slot) const noexcept;
  bool finish_relay() noexcept;
  bool retryable_status(std::uint32_t status) const noexcept;
  void commit() noexcept;  // bytes go to the client: no other worker can serve this request any more
  void leg_sent() noexcept;
  void leg_answered(Leg& leg) noexcept;
  void leg_ended(Leg& leg) noexcept;  // well
  void leg_failed(Leg& leg, const LegFailure& failure) noexcept;
  void leg_gone(Leg& leg) noexcept;   // cancelled
  void hold() noexcept { ++scans_; }  // until let_go(): work elsewhere borrows the run
  void let_go() noexcept;
  bool transform(const Leg& leg, std::string_view data, bool sse, bool last, std::string& out) noexcept;

  const std::vector<std::unique_ptr<Leg>>& legs() const noexcept { return legs_; }
  std::uint32_t attempts() const noexcept { return attempt_ + 1; }
  std::string_view policy_name() const noexcept;
  std::string_view route_name() const noexcept {
    return target_.route ? std::string_view(target_.route->name) : "";
  }
  std::string_view reason() const noexcept { return reason_; }
  std::string_view model() const noexcept { return model_; }  // for the access log; empty when there is none
  std::string_view relay_closing() const noexcept;            // what ends the relayed stream's open event
  std::string explain() const;                                // value of x-tidegate-route

  // A waiting run asks again in `ms`; false: it does so anyway by then.
  bool wake(std::uint32_t ms) noexcept;

  Run *next = nullptr, *prev = nullptr;                  // the context's list
  Run *waiting_next = nullptr, *waiting_prev = nullptr;  // those that wait

 private:
  std::string_view header(std::string_view name) const noexcept override;
  void scan_body() noexcept;
  void scanned(bool ok, const api::ScanError& error) noexcept;
  void leave_list() noexcept;
  void route_request() noexcept;
  void attempt_plan() noexcept;
  void fill_args(tg_pick_args& args) noexcept;
  void make_spans() noexcept;
  void begin_plan(const Choice& choice) noexcept;
  void start_ready() noexcept;
  void cancel_plan() noexcept;
  void park(std::uint32_t ms) noexcept;
  void unpark() noexcept;
  void on_parked() noexcept;
  void refuse(api::ErrorCode code, std::string_view message, std::uint32_t retry_after_s = 0,
              std::string_view param = {}) noexcept;
  void fail_client(const LegFailure& failure) noexcept;
  void release_unneeded() noexcept;
  void recycle_scan() noexcept;
  void end_if_done() noexcept;

  IoContext& io_;
  Exchange* exchange_;
  std::uint64_t number_, began_ns_;
  http::Body body_;
  api::BodyScan scan_;
  std::vector<tg_span> spans_;
  ViewPtr view_;
  std::shared_ptr<const RouteGraph> graph_;
  Target target_;
  std::shared_ptr<const telemetry::RouteMetrics> route_metrics_;
  tg_request request_;
  plugin::PolicyNode* policy_ = nullptr;
  std::vector<std::unique_ptr<Leg>> legs_;  // of all attempts
  std::uint32_t plan_first_ = 0, plan_count_ = 0;
  std::vector<std::uint32_t> tried_;
  std::uint32_t attempt_ = 0, tokens_estimate_ = 0, retry_after_ms_ = 0;
  std::uint64_t parked_since_ns_ = 0;      // 0: it does not wait
  std::uint32_t poll_ms_ = 0, scans_ = 0;  // scans_: under way on other threads
  bool plan_running_ = false, committed_ = false, transform_ = false, own_transform_ = false,
       fallback_ = false, ended_ = false;
  bool starting_ = false, listed_ = true;
  LegFailure last_failure_;
  std::string reason_, model_;
  http::Timer parked_{http::Timer::of<&Run::on_parked>, this};
};

}  // namespace tidegate::routing
