#include "control/io_thread.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <array>

#include "api/errors.h"
#include "routing/exchange.h"

namespace tidegate::control {
namespace {

constexpr std::uint32_t report_ms = 1'000;

// The codes of what http/ refuses by itself.
constexpr std::array protocol_error_codes{"head_too_large",
                                          "too_many_headers",
                                          "http_version_not_supported",
                                          "malformed_head",
                                          "malformed_method",
                                          "method_not_supported",
                                          "malformed_target",
                                          "malformed_header",
                                          "malformed_line_end",
                                          "folded_header",
                                          "host_missing",
                                          "host_repeated",
                                          "host_malformed",
                                          "content_length_repeated",
                                          "content_length_malformed",
                                          "both_lengths",
                                          "transfer_encoding_repeated",
                                          "transfer_encoding_unknown",
                                          "malformed_body",
                                          "request_head_stalled",
                                          "request_body_stalled",
                                          "request_body_too_large",
                                          "body_budget_exhausted",
                                          "internal_error",
                                          "other"};

double thread_cpu_seconds() noexcept {
  timespec spent{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) * 1e-9;
}

http::UpstreamLimits upstream_limits(const config::Config& config) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const double share = static_cast<double>(files.rlim_cur) * config.upstream.descriptor_share;
  const std::uint32_t loops = config::effective_threads(config.server);
  // The kernel spreads clients over the loops by chance: a loop may have a tenth more than its part.
  const double part = share / loops * (loops > 1 ? 1.1 : 1);
  http::UpstreamLimits limits;
  limits.max_connections = std::max<std::size_t>(16, static_cast<std::size_t>(part));
  limits.max_idle_per_worker = config.upstream.max_idle_per_worker;
  limits.keep_alive_idle_ms = static_cast<std::uint32_t>(config.upstream.keep_alive_idle.count());
  return limits;
}

// Clients get what the engines' connections and everything else leave of the descriptors, if not less: else
// idle ones could take every descriptor, and no request would reach an engine.
std::size_t client_connections(const config::Config& config) {
  const auto wanted = static_cast<std::size_t>(config.server.max_connections);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return wanted;
  const auto all = static_cast<std::size_t>(files.rlim_cur);
  const auto engines = static_cast<std::size_t>(static_cast<double>(all) * config.upstream.descriptor_share);
  const std::size_t reserve =
      std::min<std::size_t>(128, all / 8);  // listeners, logs, plugins, administration
  return std::min(wanted, std::max<std::size_t>(1, all - std::min(all, engines + reserve)));
}

http::ListenerOptions listener_options() {
  http::ListenerOptions options;
  options.shared_port = true;
  const std::string body =
      api::error_body(api::errors::out_of_descriptors, "the gateway is out of descriptors; try again");
  options.refusal =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
      "Connection: close\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  return options;
}

}  // namespace

http::ServerLimits server_limits(const config::Config& config) {
  http::ServerLimits limits;
  const auto& server = config.server;
  limits.max_head = static_cast<std::uint32_t>(server.max_head);
  limits.max_headers = server.max_headers;
  limits.max_body = server.max_body;
  limits.min_body_rate = server.min_body_rate;
  limits.header_timeout = static_cast<std::uint64_t>(server.timeouts.header.count());
  limits.body_timeout = static_cast<std::uint64_t>(server.timeouts.body.count());
  limits.idle_timeout = static_cast<std::uint64_t>(server.timeouts.idle.count());
  limits.write_timeout = static_cast<std::uint64_t>(server.timeouts.write.count());
  return limits;
}

IoThread::IoThread(std::uint32_t number, const config::Config& config, IoShared shared, std::uint16_t port)
    : number_(number),
      shared_(shared),
      io_(loop_, shared.hub, upstream_limits(config), shared.environment, shared.metrics),
      connections_(loop_, *this, shared.budget, server_limits(config)),
      listener_(loop_, connections_, listener_options()) {
  shared_.cap.set_limit(client_connections(config));
  connections_.share(shared_.cap);
  io_.set_number(number);
  io_.access_log = shared.access_log;
  io_.budget = &shared.budget;
  io_.offload = [this](std::function<void()> work, std::function<void()> back) {
    return shared_.backend.post_blocking([this, work = std::move(work), back = std::move(back)] {
      work();
      loop_.post(back);
    });
  };
  register_series();
  listener_.open(Poco::Net::SocketAddress(config.server.listen.host, port));
}

IoThread::~IoThread() { join(); }

// What the kernel says of this thread; and how late this timer came, as a sample of how late any would.
void IoThread::report_loop() noexcept {
  const std::uint64_t due_ns = report_.expiry() * 1'000'000;
  loop_.refresh_now();
  const std::uint64_t now_ns = loop_.now_ns();
  const double cpu = thread_cpu_seconds(), spent = cpu - reported_.cpu_seconds;
  if (reported_.at_ns != 0) {
    const double passed = static_cast<double>(now_ns - reported_.at_ns) * 1e-9;
    loop_metrics_->busy_seconds.add(spent);
    loop_metrics_->wait_seconds.add(std::max(0.0, passed - spent));
    loop_metrics_->delay.observe(now_ns > due_ns ? static_cast<double>(now_ns - due_ns) * 1e-9 : 0);
  }
  reported_.cpu_seconds = cpu;
  reported_.at_ns = now_ns;
}

void IoThread::report() noexcept {
  report_loop();
  // A loop without requests lets go of the old view all the same, and with it of old policies and slots.
  io_.view.get();
  loop_.arm(report_, report_ms);
  auto& m = shared_.metrics;
  auto move = [](auto& metric, double& before, double now) {
    metric.add(now - before);
    before = now;
  };
  move(m.connections, reported_.connections, static_cast<double>(connections_.connections()));
  move(m.connections_accepted, reported_.accepted, static_cast<double>(connections_.accepted()));
  move(m.connections_refused, reported_.refused,
       static_cast<double>(listener_.refused() + connections_.refused()));
  const http::UpstreamStats upstream = io_.pool.stats();
  move(m.upstream_busy, reported_.busy, static_cast<double>(upstream.busy));
  move(m.upstream_idle, reported_.idle, static_cast<double>(upstream.idle));
  // Shared by all loops: one of them tells.
  if (number_ == 0)
    move(m.body_bytes_buffered, reported_.body_bytes, static_cast<double>(shared_.budget.used()));
}

void IoThread::start() {
  loop_.arm(report_, report_ms);
  thread_ = std::thread([this] {
    telemetry::Cells::attach_thread();
    loop_.run();
  });
}

void IoThread::apply(const config::Config& config) {
  shared_.cap.set_limit(client_connections(config));
  loop_.post([this, limits = server_limits(config), upstream = upstream_limits(config)] {
    connections_.set_limits(limits);
    io_.pool.set_limits(upstream);
  });
}

void IoThread::drain(std::function<void()> drained) {
  loop_.post([this, drained = std::move(drained)] {
    listener_.close();
    connections_.drain(drained);
  });
}

void IoThread::force_close() {
  loop_.post([this] {
    connections_.force_close([](http::ServerConnection&, http::Responder& responder) {
      if (auto* exchange = dynamic_cast<routing::Exchange*>(&responder)) exchange->last_words();
    });
  });
}

void IoThread::stop() { loop_.stop(); }

void IoThread::join() {
  if (thread_.joinable()) thread_.join();
}

// Beforehand: taking a series takes a lock and allocates, which an I/O thread does not.
void IoThread::register_series() {
  auto& m = shared_.metrics;
  for (const auto& endpoint : api::all_endpoints())
    endpoint_metrics_[&endpoint] = &m.endpoint(std::string(endpoint.path), std::string(endpoint.method));
  endpoint_metrics_[nullptr] = &m.endpoint("other", "other");
  for (const char* code : protocol_error_codes) protocol_errors_[code] = m.protocol_error(code);
  loop_metrics_ = m.loop(number_);
}

std::unique_ptr<http::Responder> IoThread::begin(http::ServerConnection& connection) noexcept {
  const http::RequestHead& head = connection.head();
  if (is_local(Surface::data, head.path)) return local_responder(shared_.backend, Surface::data, connection);
  const api::EndpointMatch match = api::find_endpoint(head.method, head.path);
  return std::make_unique<routing::Exchange>(io_, connection, match,
                                             *endpoint_metrics_.find(match.endpoint)->second);
}

void IoThread::on_protocol_error(int, std::string_view code, const http::PeerAddress&) noexcept {
  auto at = protocol_errors_.find(code);
  if (at == protocol_errors_.end()) at = protocol_errors_.find("other");
  at->second.add();
}

std::string IoThread::error_body(int status, std::string_view code, std::string_view message) {
  return api::error_body(status, code, message);
}

}  // namespace tidegate::control
