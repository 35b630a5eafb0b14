// The relay of a leg's response to the client, and what is observed on the way. The life of a leg stands in
// leg.cc.
#include <algorithm>

#include "routing/exchange.h"
#include "routing/leg.h"
#include "routing/run.h"

namespace tidegate::routing {
namespace {

// Weight 1/8 for the new value: about the last dozen requests count. Two threads may lose an update to each
// other, which an estimate can bear.
void ewma(std::uint32_t& member, std::uint64_t sample_us) noexcept {
  const std::uint32_t old = tg_live_get(&member);
  const auto sample = static_cast<std::uint32_t>(std::min<std::uint64_t>(sample_us, UINT32_MAX - 1));
  fleet::live_set(member, old == 0 ? std::max(sample, 1u) : old - old / 8 + sample / 8);
}

}  // namespace

void Leg::note_first_byte() noexcept {
  if (first_byte_ns_) return;
  first_byte_ns_ = run_.io().loop.now_ns();
  const std::uint64_t ttft = first_byte_ns_ - started_ns_;
  ewma(worker_->live().ttft_ewma_us, ttft / 1000);
  if (worker_->metrics()) worker_->metrics()->ttft.observe(static_cast<double>(ttft) * 1e-9);
  if (spec_.response != TG_RESPONSE_RELAY || lingering_ || !run_.exchange() || !run_.route_metrics()) return;
  const std::uint64_t since_head = first_byte_ns_ - run_.exchange()->head_ns();
  run_.route_metrics()->ttft.observe(static_cast<double>(since_head) * 1e-9);
}

// The hot path of a stream: nothing is copied or allocated while the client keeps up.
void Leg::relay(const http::BodyPart& part) noexcept {
  Exchange& exchange = *run_.exchange();
  if (!run_.committed()) {
    run_.commit();
    if (limit_.armed()) limit_.disarm();
    if (run_.transforming())
      transformer_ = std::make_unique<Transformer>(
          event_stream_,
          [this](std::string_view data, bool sse, bool last, std::string& out) {
            return run_.transform(*this, data, sse, last, out);
          },
          run_.io().budget);
    exchange.begin_response(http_status_, head_block_, fixed_ && !transformer_, length_, true, event_stream_);
    std::string().swap(head_block_);
  }
  observe(part);
  if (!answered_first()) return;
  bool keeps_up = true;
  if (transformer_) {
    keeps_up = relay_transformed(part);
  } else if (part.last) {
    body_done_ = true;
    exchange.relay_end({part.pieces, part.count}, part.trailer_section);
  } else {
    keeps_up = exchange.relay({part.pieces, part.count});
  }
  if (!keeps_up && call_) call_->pause();
}

// An answer without a body: 204, 304, to HEAD, or of length 0. The length that a 304 or an answer to HEAD
// tells is that of another answer; a 204 may tell none.
void Leg::relay_empty(const http::ResponseHead& head) noexcept {
  body_done_ = true;
  run_.commit();
  bool fixed = head.content_length.has_value();
  if (head.status == 304 && fixed)
    head_block_.append("Content-Length: ").append(std::to_string(length_)).append("\r\n");
  if (head.status == 204 || head.status == 304) fixed = false;
  run_.exchange()->begin_response(http_status_, head_block_, fixed, length_, false, false);
  if (answered_first()) run_.exchange()->relay_end({}, {});
}

bool Leg::said_all() const noexcept {
  if (state_ != State::answered || lingering_ || spec_.response != TG_RESPONSE_RELAY || body_done_)
    return false;
  const auto* sse = std::get_if<http::SseObserver>(&observer_);
  return sse && sse->stats().done && sse->closing().empty();
}

// Whatever the engine does now, the client has a whole stream: it gets its end, and no error behind [DONE].
void Leg::finish() noexcept {
  if (call_) call_->cancel();
  call_ = nullptr;
  ok_ = body_done_ = true;
  usage_ = std::get<http::SseObserver>(observer_).stats().usage;
  end(TG_OUTCOME_OK, TG_OK);
  std::string rest;
  if (transformer_) transformer_->end(rest);
  const iovec piece{rest.data(), rest.size()};
  run_.exchange()->relay_end({&piece, rest.empty() ? 0u : 1u}, {});
  run_.leg_ended(*this);
}

// The relayed leg has answered: legs that wait for that start now, while there is an exchange whose head they
// can send. False: one of them failed at once, and this leg is cut off with the plan.
bool Leg::answered_first() noexcept {
  if (state_ == State::started) {
    state_ = State::answered;
    run_.leg_answered(*this);
  }
  return !ended() && !lingering_;
}

bool Leg::relay_transformed(const http::BodyPart& part) noexcept {
  std::string out;
  bool held = true;
  for (std::size_t i = 0; i < part.count; ++i)
    held = held && transformer_->feed(
                       {static_cast<const char*>(part.pieces[i].iov_base), part.pieces[i].iov_len}, out);
  if (!held) {
    call_->cancel();
    call_ = nullptr;
    fail(
        {api::errors::upstream_response_too_large, TG_E_LIMIT, http_status_,
         "worker " + worker_->spec().id +
             ": a body to be transformed is larger than 16 MiB, or than server.body_budget leaves room for"});
    return true;
  }
  if (part.last) transformer_->end(out);
  const iovec piece{out.data(), out.size()};
  const std::span<const iovec> pieces(&piece, out.empty() ? 0 : 1);
  if (!part.last) return pieces.empty() || run_.exchange()->relay(pieces);
  body_done_ = true;
  run_.exchange()->relay_end(pieces, part.trailer_section);
  return true;
}

void Leg::observe(const http::BodyPart& part) noexcept {
  if (auto* sse = std::get_if<http::SseObserver>(&observer_)) {
    const std::uint64_t before = sse->stats().token_events;
    for (std::size_t i = 0; i < part.count; ++i)
      sse->feed({static_cast<const char*>(part.pieces[i].iov_base), part.pieces[i].iov_len});
    note_tokens(before);
  } else if (auto* json = std::get_if<http::JsonTailObserver>(&observer_)) {
    for (std::size_t i = 0; i < part.count; ++i)
      json->feed({static_cast<const char*>(part.pieces[i].iov_base), part.pieces[i].iov_len});
    if (part.last) usage_ = json->finish();
  }
}

// Gaps between pieces that bring tokens; several tokens in a piece share its gap.
void Leg::note_tokens(std::uint64_t before) noexcept {
  const std::uint64_t now = run_.io().loop.now_ns();
  const std::uint64_t tokens = std::get<http::SseObserver>(observer_).stats().token_events - before;
  if (tokens == 0) return;
  if (last_piece_ns_ != 0) {
    const std::uint64_t gap = (now - last_piece_ns_) / tokens;
    if (run_.route_metrics()) run_.route_metrics()->inter_token.observe(static_cast<double>(gap) * 1e-9);
    ewma(worker_->live().itl_ewma_us, gap / 1000);
  }
  last_piece_ns_ = now;
}

}  // namespace tidegate::routing
