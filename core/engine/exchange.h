// What: one request to the simulated engine and its answer.
// Threads: the loop's.
// Ownership: owned by its connection, from begin() to the end of the exchange.
// Errors: answered to the client.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/answer.h"
#include "engine/faults.h"
#include "engine/model.h"
#include "http/server.h"

namespace tidegate::engine {

class EngineService;

class Exchange final : public http::Responder {
 public:
  Exchange(EngineService& engine, http::ServerConnection& connection) noexcept
      : engine_(engine), connection_(connection) {}
  ~Exchange() override;

  void on_request() noexcept override;
  void on_writable() noexcept override { emit(); }
  void on_client_gone() noexcept override;

  void on_event(const ModelEvent& event);  // of this request; the exchange may end by it
  void cut_off();                          // ends the answer with what is there
  std::string_view rid() const { return answer_ ? std::string_view(answer_->id()) : std::string_view(); }

 private:
  void reply(int status, std::string_view content_type, std::string_view body, std::string_view headers = {});
  void fail(int status, std::string_view type, std::string_view message);
  void generate(Api api);
  bool misbehave_at_once();
  void emit();
  void count_completed();
  void emit_end(const std::string& events);
  void reply_whole();
  void break_off();
  void put_garbage(std::string_view bytes, int how);
  void settle();  // no longer counted as open; the model is told

  EngineService& engine_;
  http::ServerConnection& connection_;
  std::uint64_t number_ = 0;
  Fault fault_ = Fault::none;
  bool generates_ = false;
  bool open_ = false;      // counted as open
  bool finished_ = false;  // the model is through
  bool broken_ = false;    // misbehaved; only the client's going is awaited
  std::optional<Answer> answer_;
  std::uint32_t produced_ = 0;  // tokens by the model; those in answer_ have been sent
  std::uint64_t arrival_ns_ = 0, last_token_ns_ = 0;
};

}  // namespace tidegate::engine
