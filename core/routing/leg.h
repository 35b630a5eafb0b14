// What: one leg of a route plan: a request to one worker, its response, its end.
//   waiting -> started -> answered -> ended; or ended from any of them. `answered` is what the ABI's plan.h
//   calls so.
// Threads: its loop's.
// Ownership: owned by its Run, until the run is deleted; borrows the run's body and the plan's memory.
// Errors: told to the run as a LegFailure; the run decides what it means.
#pragma once

#include <tidegate/plugin.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/errors.h"
#include "api/splice.h"
#include "fleet/worker.h"
#include "http/buffer.h"
#include "http/event_loop.h"
#include "http/sse.h"
#include "http/upstream.h"
#include "plugin/policy_node.h"
#include "routing/capture.h"
#include "routing/pooled.h"
#include "routing/transform.h"

namespace tidegate::routing {

class Run;
struct RouteGraph;

// Why a leg failed, in the words of the client's error.
struct LegFailure {
  api::ErrorCode code = api::errors::internal_error;
  tg_status status = TG_E_INTERNAL;
  std::uint32_t http_status = 0;  // the engine's, if it answered
  std::string detail;
};

class Leg final : public Pooled<Leg>, private http::UpstreamClient {
 public:
  // Counts the leg's load on its worker from here on. `policy` chose it and is owed its complete(); `graph`
  // keeps that policy, whatever the run is routed by later.
  Leg(Run& run, const tg_leg& spec, std::uint32_t index, std::uint32_t attempt, fleet::WorkerPtr worker,
      plugin::PolicyNode& policy, std::shared_ptr<const RouteGraph> graph) noexcept;
  ~Leg();

  void start() noexcept;
  void pause() noexcept;
  void resume() noexcept;
  // Ends it, now or (TG_CANCEL_AFTER_FIRST_ITEM) after the first byte of its response. The worker is not to
  // blame.
  void cancel() noexcept;
  void fail(LegFailure failure) noexcept;

  const tg_leg& spec() const noexcept { return spec_; }
  std::uint32_t index() const noexcept { return index_; }
  std::uint32_t attempt() const noexcept { return attempt_; }
  const fleet::WorkerPtr& worker() const noexcept { return worker_; }
  bool waiting() const noexcept { return state_ == State::waiting; }
  bool answered() const noexcept { return state_ == State::answered || (ended() && ok_); }
  bool ended() const noexcept { return state_ == State::ended; }
  bool sent() const noexcept { return sent_ns_ != 0; }
  bool lingering() const noexcept { return lingering_; }
  // Its request may still go out, for the first time or once more on a fresh connection.
  bool needs_body() const noexcept { return !ended() && (!sent() || (http_status_ == 0 && !lingering_)); }
  std::uint32_t outcome() const noexcept { return outcome_; }
  std::uint32_t http_status() const noexcept { return http_status_; }
  std::string_view drained() const noexcept { return drained_.view(); }
  std::string_view member(std::string_view name) const noexcept { return members_.find(name); }
  const http::StreamStats stats() const noexcept;
  bool under_way() const noexcept { return call_ != nullptr; }
  bool relayed_whole() const noexcept { return body_done_; }
  std::uint64_t first_byte_ns() const noexcept { return first_byte_ns_; }  // 0: none yet
  std::string_view open_event_closing() const noexcept;                    // of a relayed event stream
  bool said_all() const noexcept;  // [DONE] was relayed, and no event is open
  void finish() noexcept;          // where it said_all(): the client's response ends well

 private:
  enum class State : std::uint8_t { waiting, started, answered, ended };
  using Observer = std::variant<std::monostate, http::SseObserver, http::JsonTailObserver>;

  void on_connected(std::uint64_t took_ns) noexcept override;
  void on_request_sent() noexcept override;
  void on_response_head(const http::ResponseHead& head, http::BodyKind kind) noexcept override;
  void on_response_body(const http::BodyPart& part) noexcept override;
  void on_response_end() noexcept override;
  void on_fault(http::UpstreamFault fault, std::string_view detail) noexcept override;
  void on_limit() noexcept;

  bool make_body() noexcept;
  void capture_into(std::vector<api::BodyEdit>& edits) noexcept;
  std::string_view missing_member() const noexcept;
  void want_members() noexcept;
  void drain(const http::BodyPart& part) noexcept;
  void scan_answer() noexcept;
  void answer_scanned() noexcept;
  void response_ended() noexcept;
  bool make_head(std::string& out, std::size_t body_bytes) noexcept;
  void relay(const http::BodyPart& part) noexcept;
  void relay_empty(const http::ResponseHead& head) noexcept;
  bool relay_transformed(const http::BodyPart& part) noexcept;
  void observe(const http::BodyPart& part) noexcept;
  void note_first_byte() noexcept;
  void note_tokens(std::uint64_t before) noexcept;
  void answer() noexcept;
  bool answered_first() noexcept;
  void cut() noexcept;
  void send_cancel() noexcept;
  void end(std::uint32_t outcome, tg_status status) noexcept;
  void count_failure(const LegFailure& failure) noexcept;
  void complete(tg_status status) noexcept;

  Run& run_;
  plugin::PolicyNode& policy_;
  std::shared_ptr<const RouteGraph> graph_;
  tg_leg spec_;
  fleet::WorkerPtr worker_;
  http::Body drained_;
  http::UpstreamCall* call_ = nullptr;
  std::uint32_t index_, attempt_, tokens_counted_;
  State state_ = State::waiting;
  bool ok_ = false, lingering_ = false, event_stream_ = false, body_done_ = false, soft_failure_ = false;
  bool whole_ = false;  // the worker has answered whole
  std::uint32_t outcome_ = TG_OUTCOME_CANCELLED, http_status_ = 0;
  std::uint64_t selected_ns_, started_ns_ = 0, sent_ns_ = 0, first_byte_ns_ = 0, last_piece_ns_ = 0;
  std::string head_block_;  // the client's response head, until it is sent
  bool fixed_ = false;      // the response has a length
  std::uint64_t length_ = 0;
  AnswerMembers members_;
  Observer observer_;
  http::TokenUsage usage_;
  iovec as_it_came_{};             // the body as it came,
  std::vector<iovec> edited_;      // or what it is made of
  std::span<const iovec> pieces_;  // of these, what is sent
  std::unique_ptr<api::Splice> splice_;
  std::unique_ptr<Transformer> transformer_;
  http::Timer limit_{http::Timer::of<&Leg::on_limit>, this};
};

}  // namespace tidegate::routing
