#include "control/local_api.h"

#include <Poco/Exception.h>
#include <Poco/URI.h>

#include "api/errors.h"

namespace tidegate::control {
namespace {

bool is_workers(std::string_view path) noexcept {
  return path == "/workers" || path.starts_with("/workers/");
}

Reply error(int status, std::string_view code, std::string_view message) {
  return {status, api::error_body(status, code, message)};
}

std::string_view bearer(const http::RequestHead& head) noexcept {
  std::string_view value = head.value("authorization");
  return value.size() > 7 && http::iequals(value.substr(0, 7), "bearer ") ? value.substr(7)
                                                                          : std::string_view();
}

// The first member of this name, percent-decoded; empty: none.
std::string query_member(std::string_view query, std::string_view name) {
  try {
    Poco::URI uri;
    uri.setRawQuery(std::string(query));
    for (const auto& [key, value] : uri.getQueryParameters())
      if (key == name) return value;
  } catch (const Poco::Exception&) {  // a lone '%'
  }
  return {};
}

// Answers one request. `open_` is shared with work elsewhere: cleared on the loop's thread when the client
// has gone.
class LocalResponder final : public http::Responder {
 public:
  LocalResponder(Backend& backend, Surface surface, http::ServerConnection& connection)
      : backend_(backend),
        surface_(surface),
        connection_(connection),
        open_(std::make_shared<Open>(Open{&connection})) {}
  ~LocalResponder() override { open_->connection = nullptr; }

  void on_request() noexcept override;
  void on_client_gone() noexcept override { open_->connection = nullptr; }

 private:
  struct Open {
    http::ServerConnection* connection;
  };
  static void answer(http::ServerConnection& connection, const Reply& reply) {
    connection.reply(reply.status, reply.content_type, reply.body, reply.headers);
  }
  void answer(const Reply& reply) { answer(connection_, reply); }
  bool may_write() const;
  bool may_read() const;
  void workers(std::string_view method, std::string_view path);
  // Runs `work` on the control thread and answers with what it gives.
  void on_control(std::function<Reply()> work);
  std::function<void(Reply)> replier();

  Backend& backend_;
  Surface surface_;
  http::ServerConnection& connection_;
  std::shared_ptr<Open> open_;
};

bool LocalResponder::may_write() const {
  if (backend_.has_token()) return backend_.token_matches(bearer(connection_.head()));
  return connection_.peer().loopback();
}

// Without a token everybody may read; with one, only who has it or sits on this machine.
bool LocalResponder::may_read() const {
  return !backend_.has_token() || connection_.peer().loopback() ||
         backend_.token_matches(bearer(connection_.head()));
}

std::function<void(Reply)> LocalResponder::replier() {
  return [open = open_, &loop = connection_.loop()](Reply reply) {
    loop.post([open, reply = std::move(reply)] {
      if (open->connection) answer(*open->connection, reply);
    });
  };
}

void LocalResponder::on_control(std::function<Reply()> work) {
  backend_.post_control([work = std::move(work), reply = replier()] { reply(work()); });
}

void LocalResponder::workers(std::string_view method, std::string_view path) {
  const std::string id(path.size() > 9 ? path.substr(9) : "");
  const bool reading = method == "GET";
  if (!(reading ? may_read() : may_write()))
    return answer({401,
                   api::error_body(401, "unauthorized",
                                   "expected 'Authorization: Bearer <control token>'; writing also works "
                                   "from this machine when no token is set"),
                   "application/json", "WWW-Authenticate: Bearer\r\n"});
  if (reading && id.empty()) {
    const std::string model = query_member(connection_.head().query, "model");
    return on_control([this_backend = &backend_, model] { return this_backend->list_workers(model); });
  }
  if (reading) return on_control([this_backend = &backend_, id] { return this_backend->show_worker(id); });
  if (method == "DELETE" && !id.empty())
    return on_control([this_backend = &backend_, id] { return this_backend->remove_worker(id); });
  if (method == "POST" && id.empty()) {
    std::string body(connection_.body().view());
    if (!backend_.post_names([this_backend = &backend_, body = std::move(body), reply = replier()] {
          this_backend->add_worker(body, reply);
        }))
      answer(error(503, "busy", "too many workers wait to be looked up; try again in a moment"));
    return;
  }
  answer({405,
          api::error_body(api::errors::method_not_allowed,
                          "expected GET, POST on /workers or GET, DELETE on /workers/{id}"),
          "application/json", "Allow: GET, POST, DELETE\r\n"});
}

void LocalResponder::on_request() noexcept {
  const http::RequestHead& head = connection_.head();
  const std::string_view path = head.path;
  if (is_workers(path)) return workers(head.method, path);
  if (head.method != "GET" && head.method != "HEAD")
    return answer({405, api::error_body(api::errors::method_not_allowed, "expected GET on this path"),
                   "application/json", "Allow: GET, HEAD\r\n"});
  if (path == "/liveness" || path == "/health") {
    if (backend_.stalled())
      return answer(
          error(503, "stalled", "a plugin call has not returned for a long time; see /plugins and the log"));
    return answer({200, "OK", "text/plain"});
  }
  if (path == "/readiness") return answer(backend_.readiness());
  if (path == "/v1/models") return answer(backend_.models());
  if (path == "/plugins") {
    if (!may_read())
      return answer(error(401, "unauthorized", "expected 'Authorization: Bearer <control token>'"));
    return on_control([this_backend = &backend_] { return this_backend->plugins(); });
  }
  if (path == "/metrics" && surface_ != Surface::data)
    return answer({200, backend_.metrics_text(), "text/plain; version=0.0.4; charset=utf-8"});
  answer(error(404, "not_found", "this path is not served here: '" + std::string(path.substr(0, 200)) + "'"));
}

}  // namespace

bool is_local(Surface surface, std::string_view path) noexcept {
  if (path == "/liveness" || path == "/readiness" || path == "/health") return true;
  if (surface == Surface::metrics) return path == "/metrics";
  return is_workers(path) || path == "/v1/models" || path == "/plugins" ||
         (surface == Surface::control && path == "/metrics");
}

std::unique_ptr<http::Responder> local_responder(Backend& backend, Surface surface,
                                                 http::ServerConnection& connection) {
  return std::make_unique<LocalResponder>(backend, surface, connection);
}

std::unique_ptr<http::Responder> LocalService::begin(http::ServerConnection& connection) noexcept {
  return local_responder(backend_, surface_, connection);
}

std::string LocalService::error_body(int status, std::string_view code, std::string_view message) {
  return api::error_body(status, code, message);
}

}  // namespace tidegate::control
