#include "engine/exchange.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include <sys/socket.h>

#include "engine/replies.h"
#include "engine/service.h"

namespace tidegate::engine {

namespace {

constexpr std::string_view json = "application/json";
constexpr std::string_view event_stream =
    "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n";

std::optional<Api> generating_api(const EngineService& engine, const http::RequestHead& head) {
  if (head.method != "POST") return std::nullopt;
  if (head.path == "/v1/chat/completions") return Api::chat;
  if (head.path == "/v1/completions") return Api::completions;
  if (head.path == "/generate" && engine.options().flavor == Flavor::sglang) return Api::generate;
  return std::nullopt;
}

std::int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

double seconds(std::uint64_t from_ns, std::uint64_t to_ns) {
  return static_cast<double>(to_ns - from_ns) * 1e-9;
}

}  // namespace

Exchange::~Exchange() { settle(); }

void Exchange::settle() {
  if (!std::exchange(open_, false)) return;  // an exchange that has ended may outlive the engine by a moment
  engine_.leave(number_);
  --engine_.counters().open;
  if (answer_ && answer_->generation().stream) --engine_.counters().open_streams;
}

void Exchange::reply(int status, std::string_view content_type, std::string_view body,
                     std::string_view headers) {
  const std::string all = engine_.id_header() + std::string(headers);
  connection_.reply(status, content_type, body, all);
}

void Exchange::fail(int status, std::string_view type, std::string_view message) {
  reply(status, json, error_body(engine_.options().flavor, status, type, message));
}

void Exchange::on_request() noexcept {
  const http::RequestHead& head = connection_.head();
  const std::string_view body = connection_.body().view();
  if (head.path.starts_with("/debug/")) {
    const Reply debug = make_reply(engine_, head, body);
    return reply(debug.status, debug.content_type, debug.body);
  }
  number_ = engine_.next_number();
  engine_.log().add(number_, head, body);
  const std::optional<Api> api = generating_api(engine_, head);
  generates_ = api.has_value();
  fault_ = engine_.choose_fault(generates_, number_);
  if (misbehave_at_once()) return;
  if (api) return generate(*api);
  const Reply other = make_reply(engine_, head, body);
  reply(other.status, other.content_type, other.body);
}

bool Exchange::misbehave_at_once() {
  switch (fault_) {
    case Fault::reset_before_head: connection_.abort(); return true;
    case Fault::garbage: put_garbage("ICY 200 OK\nthis is no HTTP at all\n\n", SHUT_RDWR); return true;
    case Fault::hang: break;
    case Fault::hang_body:
      connection_.send_head(200, engine_.id_header() + std::string(event_stream), http::Framing::stream());
      break;
    case Fault::status: {
      const Faults& faults = engine_.faults();
      const std::string retry =
          faults.retry_after < 0 ? "" : "Retry-After: " + std::to_string(faults.retry_after) + "\r\n";
      const std::string message = "simulated status " + std::to_string(faults.status);
      reply(faults.status, json,
            error_body(engine_.options().flavor, faults.status, "SimulatedError", message), retry);
      return true;
    }
    default: return false;
  }
  broken_ = true;
  if (generates_) {
    open_ = true;
    ++engine_.counters().open;
  }
  return true;
}

void Exchange::generate(Api api) {
  auto read = engine_.reader().read(api, connection_.body().view());
  if (const auto* error = std::get_if<RequestError>(&read)) {
    return fail(error->status, error->type, error->message);
  }
  Generation& generation = std::get<Generation>(read);
  const EngineOptions& options = engine_.options();
  // vLLM knows its models by name; SGLang takes any.
  if (options.flavor == Flavor::vllm && !generation.model.empty() &&
      std::find(options.models.begin(), options.models.end(), generation.model) == options.models.end()) {
    return fail(404, "NotFoundError", "The model `" + generation.model + "` does not exist.");
  }
  arrival_ns_ = engine_.loop().now_ns();
  ModelRequest request{.id = number_,
                       .prompt_tokens = generation.prompt_tokens,
                       .arrival = arrival_ns_,
                       .blocks = std::move(generation.blocks)};
  answer_.emplace(options, std::move(generation), number_, unix_seconds());
  request.output_tokens = answer_->output_tokens();
  if (!engine_.submit(*this, std::move(request))) {
    return fail(503, "ServiceUnavailableError", "The request queue is full.");
  }
  open_ = true;
  ++engine_.counters().open;
  ++engine_.counters().generations;
  if (answer_->generation().stream) ++engine_.counters().open_streams;
}

void Exchange::on_event(const ModelEvent& event) {
  EngineCounters& counters = engine_.counters();
  switch (event.kind) {
    case ModelEvent::Kind::first_token: counters.first_token.observe(seconds(arrival_ns_, event.at)); break;
    case ModelEvent::Kind::token: counters.between_tokens.observe(seconds(last_token_ns_, event.at)); break;
    case ModelEvent::Kind::finished: counters.whole.observe(seconds(arrival_ns_, event.at)); break;
  }
  last_token_ns_ = event.at;
  produced_ = event.tokens;
  finished_ = event.kind == ModelEvent::Kind::finished;
  answer_->set_cached_tokens(event.cached_tokens);
  // The last token waits for `finished`, which follows at once, so that they leave together.
  if (!finished_ && produced_ == answer_->output_tokens()) return;
  if (answer_->generation().stream) return emit();
  if (finished_) reply_whole();
}

void Exchange::cut_off() {
  engine_.leave(number_);
  answer_->cut_off();
  finished_ = true;
  if (answer_->generation().stream) return emit();
  reply_whole();
}

// Sends what the model has produced as far as the client takes it: tokens wait as a number, not as bytes.
void Exchange::emit() {
  if (broken_) return;
  if (!connection_.head_sent()) {
    connection_.send_head(200, engine_.id_header() + std::string(event_stream), http::Framing::stream());
  }
  std::string events;
  bool writable = connection_.pending_output() < 64 * 1024;
  while (writable && answer_->tokens() < produced_) {
    if (fault_ != Fault::none && answer_->tokens() >= engine_.faults().after) return break_off();
    events.clear();
    answer_->stream_token(events);
    if (finished_ && answer_->tokens() == produced_ && fault_ == Fault::none) {
      answer_->stream_end(events);
      return emit_end(events);
    }
    writable = connection_.send(events);
  }
  if (!finished_ || answer_->tokens() < produced_) return;
  if (fault_ != Fault::none) return break_off();  // the answer was shorter than `after`
  events.clear();
  answer_->stream_end(events);
  emit_end(events);
}

void Exchange::count_completed() {
  ++engine_.counters().completed;
  engine_.counters().cut += answer_->finish_reason() == "length";
}

void Exchange::emit_end(const std::string& events) {
  connection_.send(events);
  count_completed();
  connection_.finish();
  settle();
}

void Exchange::reply_whole() {
  answer_->skip_to(produced_);
  const std::string body = answer_->whole();
  if (fault_ == Fault::none) {
    count_completed();
    reply(200, json, body);
    return settle();
  }
  const std::string headers = engine_.id_header() + "Content-Type: application/json\r\n";
  connection_.send_head(200, headers, http::Framing::fixed(body.size()));
  connection_.send(std::string_view(body).substr(0, body.size() / 2));
  break_off();
}

void Exchange::break_off() {
  broken_ = true;
  engine_.leave(number_);
  const bool chunked = answer_->generation().stream;
  if (fault_ == Fault::reset) {
    settle();
    return connection_.abort();
  }
  if (fault_ == Fault::close) put_garbage(chunked ? "fff\r\ndata: {\"id\":" : "", SHUT_WR);
}

// Behind the server's back: only for a connection whose next event is its end.
void Exchange::put_garbage(std::string_view bytes, int how) {
  broken_ = true;
  (void)::send(connection_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(connection_.fd(), how);
}

void Exchange::on_client_gone() noexcept {
  if (generates_) ++engine_.counters().aborted;
  settle();
}

}  // namespace tidegate::engine
