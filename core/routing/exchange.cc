#include "routing/exchange.h"

#include <array>
#include <cstring>
#include <utility>

#include "http/chunked.h"
#include "http/header_rules.h"
#include "routing/run.h"

namespace tidegate::routing {
namespace {

constexpr auto hex_pairs = [] {
  constexpr char digits[] = "0123456789abcdef";
  std::array<char, 512> pairs{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    pairs[2 * byte] = digits[byte >> 4];
    pairs[2 * byte + 1] = digits[byte & 15];
  }
  return pairs;
}();

void put_hex(char* out, std::uint64_t n) noexcept {
  for (int i = 14; i >= 0; i -= 2, n >>= 8) std::memcpy(out + i, hex_pairs.data() + 2 * (n & 255), 2);
}

bool named_by_connection(const http::ResponseHead& head, std::string_view name) noexcept {
  for (std::string_view listed : head.connection_names)
    if (http::iequals(listed, name)) return true;
  return false;
}

std::string_view outcome_text(const Leg& leg) noexcept {
  if (leg.relayed_whole()) return "done";
  if (!leg.ended()) return "open";
  switch (leg.outcome()) {
    case TG_OUTCOME_OK: return "done";
    case TG_OUTCOME_FAILED: return "failed";
    case TG_OUTCOME_CANCELLED: return "cancelled";
    default: return "never_sent";
  }
}

// An engine's own would stand beside the gateway's.
bool written_here(std::string_view name) noexcept {
  switch (name.size()) {
    case 4: return http::iequals(name, "date");
    case 12: return http::iequals(name, "x-request-id");
    case 14: return http::iequals(name, "content-length");
    case 16: return http::iequals(name, "x-tidegate-route");
    default: return false;
  }
}

}  // namespace

void append_response_headers(const http::ResponseHead& head, std::string& out) {
  out.reserve(512);  // one allocation for nearly every head, with what the gateway adds
  for (const auto& field : head.fields) {
    if (written_here(field.name) || http::hop_by_hop(field)) continue;
    if (!head.connection_names.empty() && named_by_connection(head, field.name)) continue;
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
}

Exchange::Exchange(IoContext& io, http::ServerConnection& connection, const api::EndpointMatch& endpoint,
                   const telemetry::EndpointMetrics& metrics)
    : io_(io),
      connection_(connection),
      endpoint_(endpoint),
      metrics_(metrics),
      head_ns_(io.loop.now_ns()),
      explaining_(connection.head().find("x-tidegate-route") != nullptr) {
  io_.metrics.requests_inflight.add();
  client_address_size_ = static_cast<std::uint8_t>(connection.peer().write_host(client_address_));
  request_id_ = connection.head().value("x-request-id");
  if (!http::sane_request_id(request_id_)) {
    std::memcpy(minted_id_, "req-", 4);
    put_hex(minted_id_ + 4, io_.environment.random());
    request_id_ = {minted_id_, sizeof minted_id_};
  }
  traceparent_ = connection.head().value("traceparent");
  if (!http::valid_traceparent(traceparent_)) {
    std::memcpy(minted_trace_, "00-", 3);
    put_hex(minted_trace_ + 3, io_.environment.random() | 1);
    put_hex(minted_trace_ + 19, io_.environment.random());
    minted_trace_[35] = '-';
    put_hex(minted_trace_ + 36, io_.environment.random() | 1);
    std::memcpy(minted_trace_ + 52, "-00", 3);
    traceparent_ = {minted_trace_, sizeof minted_trace_};
  }
}

Exchange::~Exchange() {
  if (!counted_) finished(499, "client_gone");
  if (Run* run = take_run()) run->detach(true);
}

Run* Exchange::take_run() noexcept { return std::exchange(run_, nullptr); }

void Exchange::on_head() noexcept {
  if (endpoint_.status == 200) return;
  if (endpoint_.status == 405) {
    const std::string allow = "Allow: " + std::string(endpoint_.allow) + "\r\n";
    status_ = 405;
    connection_.reply(405, "application/json",
                      api::error_body(api::errors::method_not_allowed,
                                      "expected " + std::string(endpoint_.allow) + " on this path"),
                      allow);
    return finished(405, "method_not_allowed");
  }
  fail(api::errors::not_found,
       "this path is not served: '" + std::string(connection_.head().path.substr(0, 200)) + "'", 0, {});
}

void Exchange::on_request() noexcept {
  bytes_in_ = connection_.body().size();
  run_ = new Run(io_, *this);
  run_->start();
}

void Exchange::on_writable() noexcept {
  if (run_) run_->client_writable();
}

void Exchange::on_client_gone() noexcept {
  io_.metrics.client_cancelled.add();
  if (!counted_) finished(responded_ ? status_ : 499, "client_gone");
  if (Run* run = take_run()) run->detach(true);
}

void Exchange::on_refused(int status, std::string_view code) noexcept {
  finished(static_cast<std::uint32_t>(status), code);
  if (Run* run = take_run()) run->detach(true);
}

void Exchange::last_words() noexcept {
  if (!responded_) return fail(api::errors::draining, "the gateway is shutting down", 1, {});
  if (run_ && run_->finish_relay()) return;
  const std::string closing(run_ ? run_->relay_closing() : "");
  relay_broken(api::errors::draining, "the gateway is shutting down", closing);
}

void Exchange::add_own_headers(std::string& block) noexcept {
  block.append("X-Request-Id: ").append(request_id_).append("\r\n");
  if (run_ && explaining_) block.append("X-Tidegate-Route: ").append(run_->explain()).append("\r\n");
}

void Exchange::fail(api::ErrorCode code, std::string_view message, std::uint32_t retry_after_s,
                    std::string_view param) noexcept {
  if (responded_) return;
  responded_ = true;
  status_ = static_cast<std::uint32_t>(code.status);
  std::string block;
  add_own_headers(block);
  if (retry_after_s) block.append("Retry-After: ").append(std::to_string(retry_after_s)).append("\r\n");
  finished(status_, code.code);
  connection_.reply(code.status, "application/json", api::error_body(code, message, param), block);
  if (Run* run = take_run()) run->detach(true);
}

void Exchange::begin_response(std::uint32_t status, std::string& block, bool fixed, std::uint64_t length,
                              bool has_body, bool event_stream) noexcept {
  responded_ = true;
  status_ = status;
  answer_ns_ = io_.loop.now_ns();
  fixed_ = fixed;
  event_stream_ = event_stream;
  if (event_stream) io_.metrics.streams.add();
  add_own_headers(block);
  http::Framing framing = http::Framing::stream();
  if (fixed) framing = http::Framing::fixed(length);
  if (!has_body && !fixed) framing = http::Framing::none();
  connection_.send_head(static_cast<int>(status), block, framing);
}

bool Exchange::relay(std::span<const iovec> pieces) noexcept {
  const bool keeps_up = connection_.send(pieces);
  if (answer_ns_) note_answer_sent();
  return keeps_up;
}

void Exchange::note_left(std::uint64_t since) noexcept {
  if (!left_) overhead_ns_ += io_.environment.monotonic_ns() - since;
  left_ = true;
}

std::uint64_t Exchange::note_answer_sent() noexcept {
  const std::uint64_t now = io_.environment.monotonic_ns();
  overhead_ns_ += now - answer_ns_;
  answer_ns_ = 0;
  return now;
}

void Exchange::relay_end(std::span<const iovec> last, std::string_view trailer_section) noexcept {
  std::string trailers;
  if (!trailer_section.empty()) {
    std::vector<http::HeaderField> fields;
    if (http::parse_trailers(trailer_section, fields, true))
      for (const auto& field : fields)
        trailers.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  connection_.finish(last, trailers);
  finished(status_, {}, answer_ns_ ? note_answer_sent() : 0);
  if (Run* run = take_run()) run->detach(false);
}

void Exchange::relay_broken(api::ErrorCode code, std::string_view message,
                            std::string_view closing) noexcept {
  finished(status_, code.code);
  connection_.keep_alive(false);
  if (event_stream_ && !fixed_) {
    connection_.send(std::string(closing) + api::sse_error_event(code, message));
    connection_.finish();
  } else {
    connection_.abort();
  }
  if (Run* run = take_run()) run->detach(true);
}

void Exchange::finished(std::uint32_t status, std::string_view error, std::uint64_t now) noexcept {
  if (counted_) return;
  counted_ = true;
  if (now == 0) now = io_.environment.monotonic_ns();
  io_.metrics.requests_inflight.sub();
  if (event_stream_) io_.metrics.streams.sub();
  metrics_.done(static_cast<int>(status), static_cast<double>(now - head_ns_) * 1e-9);
  if (left_) io_.metrics.overhead.observe(static_cast<double>(overhead_ns_) * 1e-9);
  http::StreamStats stats;
  std::uint64_t first_byte_ns = 0;
  if (run_) {
    io_.metrics.attempts.observe(run_->attempts());
    for (const auto& leg : run_->legs())
      if (leg->spec().response == TG_RESPONSE_RELAY) {
        stats = leg->stats();
        first_byte_ns = leg->first_byte_ns();
      }
    count(status, stats);
  }
  if (io_.access_log) log(status, error, stats, first_byte_ns, now);
}

void Exchange::count(std::uint32_t status, const http::StreamStats& stats) noexcept {
  const auto* metrics = run_->route_metrics();
  if (!metrics) return;
  metrics->requests[status / 100 < 6 ? status / 100 : 0].add();
  if (stats.usage.prompt >= 0) metrics->tokens_prompt.add(static_cast<double>(stats.usage.prompt));
  if (stats.usage.cached >= 0) metrics->tokens_cached.add(static_cast<double>(stats.usage.cached));
  if (stats.usage.completion >= 0)
    metrics->tokens_output.add(static_cast<double>(stats.usage.completion));
  else if (stats.token_events > 0)
    metrics->events_output.add(static_cast<double>(stats.token_events));
}

void Exchange::log(std::uint32_t status, std::string_view error, const http::StreamStats& stats,
                   std::uint64_t first_byte_ns, std::uint64_t now) noexcept {
  std::vector<telemetry::AccessLeg> legs;
  telemetry::AccessRecord record;
  record.unix_ms = io_.environment.unix_ms() - (now - head_ns_) / 1'000'000;  // when it began
  record.request_id = request_id_;
  record.client = client_address();
  record.method = connection_.head().method;
  record.path = connection_.head().path;
  record.status = static_cast<int>(status);
  record.error = error;
  record.stream = event_stream_;
  if (run_) {
    for (const auto& leg : run_->legs())
      legs.push_back({leg->worker()->spec().id, outcome_text(*leg), static_cast<int>(leg->http_status())});
    record.model = run_->model();
    record.route = run_->route_name();
    record.policy = run_->policy_name();
    record.attempts = run_->attempts();
  }
  record.legs = legs;
  record.prompt_tokens = stats.usage.prompt;
  record.cached_tokens = stats.usage.cached;
  record.output_tokens =
      stats.usage.completion >= 0 ? stats.usage.completion : static_cast<std::int64_t>(stats.token_events);
  if (first_byte_ns) record.ttft_us = static_cast<std::int64_t>((first_byte_ns - head_ns_) / 1000);
  record.total_us = static_cast<std::int64_t>((now - head_ns_) / 1000);
  if (left_) record.overhead_us = static_cast<std::int64_t>(overhead_ns_ / 1000);
  record.bytes_in = bytes_in_;
  record.bytes_out = connection_.response_bytes();
  io_.access_log->write(record);
}

}  // namespace tidegate::routing
