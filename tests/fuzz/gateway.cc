#include "gateway.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "api/errors.h"
#include "routing/exchange.h"
#include "wire.h"

namespace tidegate::fuzz {

namespace {

// Years ahead of any CLOCK_MONOTONIC, which some of what is read outside the loop may still be.
constexpr std::uint64_t beginning = 100'000'000'000'000'000u;
std::uint64_t program_time = beginning;

}  // namespace

std::uint64_t Gateway::now_ns() noexcept { return program_time; }

void Gateway::step(unsigned ms) {
  program_time += ms * std::uint64_t{1'000'000};
  if (!offloaded_.empty() && ++steps_ % 3 == 0) {
    offloaded_.front().work();
    loop_.post(std::move(offloaded_.front().back));
    offloaded_.pop_front();
  }
  loop_.run_once(0);
}

EnginePort open_port(bool listening) {
  EnginePort port;
  port.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(port.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::getsockname(port.fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      (listening && ::listen(port.fd.get(), 256) != 0))
    throw std::runtime_error("no loopback port for an engine");
  port.port = ntohs(address.sin_port);
  port.listening = listening;
  return port;
}

std::uint64_t QuietEnvironment::random() noexcept {
  std::uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

Ground::Ground() : registry_({{FUZZ_TEST_PLUGINS}, FUZZ_PLUGINS, false}, &environment) {
  for (unsigned i = 0; i < ports.size(); ++i) {
    ports[i] = open_port(i < engines);
    const std::string port = std::to_string(ports[i].port);
    fleet::WorkerSpec spec;
    spec.source = "fuzz";
    spec.id = "w" + std::to_string(i);
    spec.url = "http://127.0.0.1:" + port;
    fleet::Endpoint endpoint{Poco::Net::SocketAddress("127.0.0.1", ports[i].port), "127.0.0.1:" + port, ""};
    worker_metrics.push_back(metrics.worker(spec.id));
    workers_.push_back(
        std::make_shared<fleet::Worker>(slots_, *slots_->acquire(), spec, endpoint, worker_metrics.back()));
    set_ready(i, true);
  }
}

void Ground::set_ready(unsigned i, bool ready) {
  fleet::live_set(workers_[i]->live().state, ready ? TG_WORKER_READY : TG_WORKER_UNHEALTHY);
}

void Ground::renew() {
  views_.clear();
  graphs_[0] = graphs_[1] = nullptr;
  policies_.clear();
  retired_.clear();
  generation_ = 0;
  for (unsigned i = 0; i < workers_.size(); ++i) set_ready(i, true);
}

void Ground::renew_graph() {
  ++generation_;
  views_.clear();
  graphs_[0] = graphs_[1] = nullptr;
  for (auto& [name, node] : policies_) retired_.push_back(std::move(node));
  policies_.clear();
}

std::shared_ptr<plugin::PolicyNode> Ground::policy(const std::string& name) {
  auto& node = policies_[name];
  if (node) return node;
  const auto component = registry_.find(TG_POLICY_INTERFACE, name);
  if (!component) throw std::runtime_error(component.refusal().text);
  // A busy machine is no policy's fault, and a quarantine would make cases depend on it.
  plugin::ContainmentLimits limits;
  limits.budget_ns = 60'000'000'000;
  auto made = plugin::PolicyNode::create(**component, name, "{}", environment, registry_, limits);
  if (!made) throw std::runtime_error(made.refusal().text);
  return node = *made;
}

std::shared_ptr<const routing::RouteGraph> Ground::graph(bool short_times) {
  auto& made = graphs_[short_times];
  if (made) return made;
  auto graph = std::make_shared<routing::RouteGraph>();
  // The last takes requests without a body, where a plan may want to edit one.
  for (const char* name : {"power_of_two", "round_robin", "two_legs", "any_plan", "two_legs"}) {
    const bool bodiless = graph->routes.size() == 4;
    routing::Route route;
    route.name = bodiless ? "bodiless" : name;
    route.policy_name = name;
    if (generation_ % 2 == 1 && route.policy_name == "two_legs")
      route.policy_name = "any_plan";
    else if (generation_ % 2 == 1 && route.policy_name == "any_plan")
      route.policy_name = "two_legs";
    route.match.model = {bodiless ? "*" : name};
    if (bodiless) route.match.path = "/model_info";
    route.policy = policy(route.policy_name);
    route.fallback = policy("round_robin");
    route.fallback_name = "round_robin";
    route.attempts = attempts;
    route.wait_ms = 50;
    route.retry_statuses = {502, 503};
    route.timeouts = {60'000, 60'000, 60'000};
    if (short_times) route.timeouts = {3, 3, 2};
    graph->routes.push_back(std::move(route));
  }
  return made = graph;
}

routing::ViewPtr Ground::view(unsigned mask, bool short_times) {
  auto& made = views_[{mask, short_times}];
  if (made) return made;
  std::vector<fleet::WorkerPtr> chosen;
  for (unsigned i = 0; i < workers_.size(); ++i)
    if (mask >> i & 1) chosen.push_back(workers_[i]);
  const auto members = fleet::Membership::make(mask, chosen, *slots_);
  const std::shared_ptr<const tg_snapshot> snapshot(members, &members->snapshot());
  std::vector<routing::View::Tables> tables;
  const auto routes = graph(short_times);
  for (const auto& route : routes->routes)
    tables.push_back({route.policy->build(snapshot), route.fallback->build(snapshot)});
  auto view = std::make_shared<routing::View>(routes, members, std::move(tables));
  for (std::uint32_t i = 0; i < routes->routes.size(); ++i)
    view->add_metrics(i, routing::View::other_model,
                      metrics.route(routes->routes[i].name, routing::View::other_model));
  return made = view;
}

Ground::Legs Ground::legs() {
  Legs legs;
  auto nodes = retired_;
  for (const auto& [name, node] : policies_) nodes.push_back(node);
  for (const auto& node : nodes) {
    const auto told = nlohmann::json::parse(node->describe()).value("state", nlohmann::json());
    if (!told.contains("legs")) continue;
    // Of a plan that was refused as a slip nobody is owed an end; those here have two legs.
    legs.completed += 2 * node->containment().all_slips();
    legs.picked += told.at("legs").get<std::uint64_t>();
    for (const auto& n : told.at("outcomes")) legs.completed += n.get<std::uint64_t>();
  }
  return legs;
}

void Ground::audit() {
  for (const auto& worker : workers_) {
    const auto requests = tg_live_get(&worker->live().inflight);
    const auto tokens = tg_live_get(&worker->live().inflight_tokens);
    if (requests != 0 || tokens != 0)
      throw Failure("worker " + worker->spec().id + " is left with inflight " + std::to_string(requests) +
                    ", tokens " + std::to_string(tokens));
  }
  if (metrics.requests_inflight.value() != 0)
    throw Failure("requests_inflight is left at " + std::to_string(metrics.requests_inflight.value()));
  if (metrics.streams.value() != 0)
    throw Failure("streams is left at " + std::to_string(metrics.streams.value()));
  const Legs told = legs();
  if (told.picked != told.completed)
    throw Failure("policies picked " + std::to_string(told.picked) + " legs and heard of the end of " +
                  std::to_string(told.completed));
}

Gateway::Gateway(Ground& ground, const Limits& limits, http::BodyBudget& budget)
    : ground_(ground),
      budget_(budget),
      io_(loop_, hub_, limits.upstream, ground.environment, ground.metrics),
      connections_(loop_, *this, budget_, limits.server) {
  io_.budget = &budget_;
  io_.offload = [this](std::function<void()> work, std::function<void()> back) {
    offloaded_.push_back({std::move(work), std::move(back)});
    return true;
  };
}

// A loop ends after the scans that will come back to it.
Gateway::~Gateway() {
  while (!offloaded_.empty()) step();
  step();
}

void Gateway::accept(http::UniqueFd fd) noexcept { connections_.on_accept(std::move(fd), {}); }

void Gateway::last_words() {
  connections_.force_close([](http::ServerConnection&, http::Responder& responder) {
    static_cast<routing::Exchange&>(responder).last_words();
  });
}

bool Gateway::quiet() const noexcept {
  return connections_.connections() == 0 && !io_.first_run && io_.detached.empty() &&
         io_.pool.stats().busy == 0 && budget_.used() == 0;
}

std::string Gateway::what_is_left() const {
  return std::to_string(connections_.connections()) + " clients, " +
         std::string(io_.first_run ? "runs, " : "no run, ") + std::to_string(io_.detached.size()) +
         " cancel actions, " + std::to_string(io_.pool.stats().busy) + " busy upstream connections, " +
         std::to_string(budget_.used()) + " bytes of bodies";
}

std::unique_ptr<http::Responder> Gateway::begin(http::ServerConnection& connection) noexcept {
  const http::RequestHead& head = connection.head();
  const api::EndpointMatch match = api::find_endpoint(head.method, head.path);
  return std::make_unique<routing::Exchange>(io_, connection, match,
                                             ground_.metrics.endpoint("fuzz", "fuzz"));
}

void Gateway::on_protocol_error(int, std::string_view, const http::PeerAddress&) noexcept {
  ++protocol_errors;
}

std::string Gateway::error_body(int status, std::string_view code, std::string_view message) {
  return api::error_body(status, code, message);
}

}  // namespace tidegate::fuzz
