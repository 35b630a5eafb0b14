// What: the simulated engine as an HTTP service: endpoints, the model driven by the loop's clock, faults.
// Threads: one loop's; nothing here may be called from another thread while the loop runs.
// Ownership: owns the model; exchanges (one a request) are owned by their connections and register here.
// Errors: answered to the client as the engine of its flavor would.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/engine_metrics.h"
#include "engine/faults.h"
#include "engine/model.h"
#include "engine/options.h"
#include "engine/request.h"
#include "engine/request_log.h"
#include "http/event_loop.h"
#include "http/server.h"

namespace tidegate::engine {

class Exchange;

class EngineService final : public http::Service, private http::BatchEnd {
 public:
  EngineService(http::EventLoop& loop, EngineOptions options);

  // Called when the fault `refuse` comes (true) or goes.
  void on_refuse(std::function<void(bool)> change) { refuse_ = std::move(change); }

  std::unique_ptr<http::Responder> begin(http::ServerConnection& connection) noexcept override;
  std::string error_body(int status, std::string_view code, std::string_view message) override;

  http::EventLoop& loop() { return loop_; }
  const EngineOptions& options() const { return options_; }
  const EngineModel& model() const { return model_; }
  EngineCounters& counters() { return counters_; }
  const std::string& id_header() const { return id_header_; }  // a complete line
  void set_id(const std::string& id);

  // For exchanges.
  RequestReader& reader() { return reader_; }
  RequestLog& log() { return log_; }
  std::uint64_t next_number() { return ++counters_.requests; }
  Fault choose_fault(bool generates, std::uint64_t number);
  const Faults& faults() const { return options_.faults; }
  void set_faults(const Faults& faults);
  bool submit(Exchange& exchange, ModelRequest request);  // false: the queue is full
  void leave(std::uint64_t id);                           // no more events; work under way is cancelled
  std::size_t abort(std::string_view rid, bool all);      // by the client's wish; how many
  bool flush_cache();                                     // false: requests are running

 private:
  void on_batch_end() noexcept override { pump(); }
  void on_timer() noexcept { pump(); }
  void on_refuse_timer() noexcept;
  void pump() noexcept;

  http::EventLoop& loop_;
  EngineOptions options_;
  EngineModel model_;
  EngineCounters counters_;
  RequestReader reader_;
  RequestLog log_;
  std::string id_header_;
  std::function<void(bool)> refuse_;
  bool refusing_ = false;
  std::unordered_map<std::uint64_t, Exchange*> generating_;
  std::vector<ModelEvent> events_;
  http::Timer timer_{http::Timer::of<&EngineService::on_timer>, this};
  http::Timer refuse_timer_{http::Timer::of<&EngineService::on_refuse_timer>, this};
};

}  // namespace tidegate::engine
