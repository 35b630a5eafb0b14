#include "engine/service.h"

#include <utility>

#include "engine/exchange.h"
#include "engine/replies.h"
#include "engine/text.h"

namespace tidegate::engine {

EngineService::EngineService(http::EventLoop& loop, EngineOptions options)
    : loop_(loop), options_(std::move(options)), model_(options_.model), reader_(options_) {
  set_id(options_.id);
  model_.set_slowdown(options_.faults.slow);
}

void EngineService::set_id(const std::string& id) {
  options_.id = id;
  id_header_ = "x-engine-id: " + id + "\r\n";
}

std::unique_ptr<http::Responder> EngineService::begin(http::ServerConnection& connection) noexcept {
  return std::make_unique<Exchange>(*this, connection);
}

std::string EngineService::error_body(int status, std::string_view /*code*/, std::string_view message) {
  return engine::error_body(options_.flavor, status, "BadRequestError", message);
}

Fault EngineService::choose_fault(bool generates, std::uint64_t number) {
  if (!generates && !options_.faults.all) return Fault::none;
  const Fault fault = engine::choose_fault(options_.faults, options_.model.seed, number);
  if (fault != Fault::none) ++counters_.faults;
  return fault;
}

void EngineService::set_faults(const Faults& faults) {
  options_.faults = faults;
  model_.set_slowdown(faults.slow);
  if (faults.refuse && faults.refuse_for_ms > 0) {
    loop_.arm(refuse_timer_, faults.refuse_for_ms);
  } else {
    refuse_timer_.disarm();
  }
  if (faults.refuse != refusing_) {
    refusing_ = faults.refuse;
    if (refuse_) refuse_(refusing_);
  }
}

void EngineService::on_refuse_timer() noexcept {
  Faults faults = options_.faults;
  faults.refuse = false;
  set_faults(faults);
}

bool EngineService::submit(Exchange& exchange, ModelRequest request) {
  const std::uint64_t id = request.id;
  if (!model_.submit(std::move(request))) return false;
  generating_.emplace(id, &exchange);
  loop_.at_batch_end(*this);  // all that arrives in one batch of the loop may start in the same step
  return true;
}

void EngineService::leave(std::uint64_t id) {
  if (generating_.erase(id) > 0) model_.cancel(id);
}

std::size_t EngineService::abort(std::string_view rid, bool all) {
  std::vector<Exchange*> chosen;
  for (const auto& [id, exchange] : generating_) {
    if (all || (!rid.empty() && exchange->rid() == rid)) chosen.push_back(exchange);
  }
  for (Exchange* exchange : chosen) exchange->cut_off();
  return chosen.size();
}

bool EngineService::flush_cache() {
  if (model_.running() + model_.waiting() > 0) return false;
  model_.flush_cache();
  return true;
}

// Every exchange may end, and so leave(), while its event is handled: they are looked up one by one.
void EngineService::pump() noexcept {
  events_.clear();
  const TimeNs next = model_.step(loop_.now_ns(), events_);
  for (const ModelEvent& event : events_) {
    const auto found = generating_.find(event.id);
    if (found == generating_.end()) continue;
    Exchange* exchange = found->second;
    if (event.kind == ModelEvent::Kind::finished) generating_.erase(found);
    exchange->on_event(event);
  }
  if (next != never) loop_.arm_at(timer_, (next + 999'999) / 1'000'000);
}

}  // namespace tidegate::engine
