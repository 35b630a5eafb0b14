// What: the endpoints that the gateway answers itself: probes, /workers, /v1/models, /plugins, /metrics.
// Threads: begin() and the responders on the connection's loop; what changes the fleet runs on the control
// thread and comes
//   back. Probes are answered from published state on the spot, so they work while the control thread is
//   busy.
// Ownership: borrows the gateway's parts through Backend, which outlives every connection.
// Errors: OpenAI's envelope; SMG's shapes for /workers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "http/server.h"

namespace tidegate::control {

struct Reply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string headers;  // further complete lines
};

// What the local endpoints need of the gateway.
class Backend {
 public:
  virtual bool draining() const noexcept = 0;    // any thread
  virtual bool stalled() const noexcept = 0;     // any thread: a plugin call has not returned for long
  virtual Reply readiness() const = 0;           // any thread
  virtual Reply models() const = 0;              // any thread
  virtual std::string metrics_text() const = 0;  // metrics thread
  virtual bool token_matches(std::string_view token) const = 0;  // any thread; false when none is configured
  virtual bool has_token() const = 0;
  virtual void post_control(std::function<void()> task) = 0;  // any thread
  // Any thread. False: too much is waiting already; the task is not run.
  virtual bool post_blocking(std::function<void()> task) = 0;  // work that takes long
  virtual bool post_names(std::function<void()> task) = 0;     // work that waits for the name service
  // Control thread.
  virtual Reply list_workers(std::string_view model) = 0;
  virtual Reply show_worker(std::string_view id) = 0;
  virtual Reply remove_worker(std::string_view id) = 0;
  virtual Reply plugins() = 0;
  // By post_names(); posts to the control thread and waits for no one: `done`
  // comes there.
  virtual void add_worker(std::string body, std::function<void(Reply)> done) = 0;

 protected:
  ~Backend() = default;
};

// Which local endpoints a listener serves.
enum class Surface { data, control, metrics };

// True when the path is one of the gateway's own on this surface.
bool is_local(Surface surface, std::string_view path) noexcept;
std::unique_ptr<http::Responder> local_responder(Backend& backend, Surface surface,
                                                 http::ServerConnection& connection);

// A service of local endpoints only.
class LocalService final : public http::Service {
 public:
  LocalService(Backend& backend, Surface surface) : backend_(backend), surface_(surface) {}
  std::unique_ptr<http::Responder> begin(http::ServerConnection& connection) noexcept override;
  std::string error_body(int status, std::string_view code, std::string_view message) override;

 private:
  Backend& backend_;
  Surface surface_;
};

}  // namespace tidegate::control
