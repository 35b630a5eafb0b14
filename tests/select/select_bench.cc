// Measures one selection (candidates, pick through the loaded shared object, containment, checks, fallback
// logic) over fleets of 8 to 4,096 workers: nanoseconds, and trips to the allocator, which is interposed here
// and counts. Prints JSON. Exit code 1 when a selection has allocated.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "control/environment.h"
#include "plugin/registry.h"
#include "routing/selection.h"

namespace {
std::atomic<std::uint64_t> allocations{0};
}

extern "C" void* __libc_malloc(std::size_t);
extern "C" void* __libc_calloc(std::size_t, std::size_t);
extern "C" void* __libc_realloc(void*, std::size_t);
extern "C" void* __libc_memalign(std::size_t, std::size_t);
// Seen by plugins too, which get their allocator from the program that loads them.
extern "C" void* malloc(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
extern "C" void* calloc(std::size_t count, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
extern "C" void* realloc(void* memory, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(memory, size);
}
extern "C" void* aligned_alloc(std::size_t align, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(align, size);
}

namespace tidegate {
namespace {

using Clock = std::chrono::steady_clock;

routing::ViewPtr make_view(const std::shared_ptr<plugin::PolicyNode>& policy,
                           const std::shared_ptr<plugin::PolicyNode>& fallback,
                           const std::shared_ptr<fleet::SlotTable>& slots, std::uint32_t count,
                           telemetry::GatewayMetrics& metrics) {
  std::vector<fleet::WorkerPtr> workers;
  for (std::uint32_t i = 0; i < count; ++i) {
    fleet::WorkerSpec spec;
    spec.source = "bench";
    spec.id = "worker-" + std::to_string(i);
    spec.url = "http://127.0.0.1:1";
    spec.models = {"bench"};
    auto worker =
        std::make_shared<const fleet::Worker>(slots, *slots->acquire(), spec, fleet::Endpoint{}, nullptr);
    fleet::live_set(worker->live().state, TG_WORKER_READY);
    fleet::live_set(worker->live().inflight, i * 7919 % 13);
    workers.push_back(std::move(worker));
  }
  auto graph = std::make_shared<routing::RouteGraph>();
  routing::Route route;
  route.name = "*";
  route.policy = policy;
  route.fallback = fallback;
  graph->routes.push_back(std::move(route));
  auto members = fleet::Membership::make(1, std::move(workers), *slots);
  std::shared_ptr<const tg_snapshot> snapshot(members, &members->snapshot());
  std::vector<routing::View::Tables> tables;
  tables.push_back({policy->build(snapshot), fallback->build(snapshot)});
  auto view = std::make_shared<routing::View>(graph, members, std::move(tables));
  view->add_metrics(0, routing::View::other_model, metrics.route("*", routing::View::other_model));
  view->add_metrics(0, "bench", metrics.route("*", "bench"));
  return view;
}

// One policy over one fleet.
struct Subject {
  const char* policy;
  std::uint32_t workers;
  unsigned picks;  // a round
  std::shared_ptr<fleet::SlotTable> slots = std::make_shared<fleet::SlotTable>();
  routing::ViewPtr view = {};
  std::vector<double> ns = {};  // a pick, by round
  double allocations = 0;       // a pick, the most of all rounds
};

void measure(Subject& subject, routing::Selector& selector, bool counted) {
  const std::uint64_t before = allocations.load();
  const auto start = Clock::now();
  for (unsigned i = 0; i < subject.picks; ++i) {
    const routing::Target target = subject.view->find("bench", "/v1/chat/completions");
    tg_request request(nullptr);
    tg_pick_args args{};
    args.request_id = i;
    args.prompt_tokens_est = 100;
    const routing::Choice choice = selector.choose(*subject.view, target, request, args, {});
    if (choice.kind != routing::Choice::Kind::select || choice.fallback) std::abort();
    const tg_leg& leg = choice.plan->legs[0];
    tg_completion completion{};
    completion.size = sizeof completion;
    choice.policy->complete(request, leg.cookie, leg.ticket, completion);
  }
  const double ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count() / subject.picks;
  const double allocated = static_cast<double>(allocations.load() - before) / subject.picks;
  if (!counted) return;
  subject.ns.push_back(ns);
  subject.allocations = std::max(subject.allocations, allocated);
}

std::vector<Subject> subjects(plugin::Registry& registry, control::Environment& environment,
                              telemetry::GatewayMetrics& metrics, bool quick) {
  std::vector<Subject> all;
  for (const char* name : {"random", "round_robin", "power_of_two", "least_requests"}) {
    auto make = [&](const char* policy, const char* instance) {
      auto component = registry.find(TG_POLICY_INTERFACE, policy);
      if (!component) {
        std::fprintf(stderr, "%s\n", component.refusal().text.c_str());
        std::exit(2);
      }
      return *plugin::PolicyNode::create(**component, instance, "{}", environment, registry);
    };
    auto policy = make(name, name), fallback = make("round_robin", "fallback");
    const bool scans = std::strcmp(name, "least_requests") == 0;
    for (std::uint32_t workers : {8u, 64u, 1000u, 4096u}) {
      Subject subject{name, workers, quick ? 2'000u : scans ? 10'000u : 200'000u};
      subject.view = make_view(policy, fallback, subject.slots, workers, metrics);
      all.push_back(std::move(subject));
    }
  }
  return all;
}

// Rounds are interleaved, so that what the machine does meanwhile meets all subjects alike; the first warms
// caches and pools. The median is what a selection costs here, the least what its code needs.
int run(bool quick) {
  http::EventLoop loop;
  telemetry::MetricsRegistry metrics;
  control::Environment environment(loop, metrics);
  plugin::Registry registry({{}, TIDEGATE_PLUGINS, false}, &environment);
  routing::Selector selector;
  loop.run_once(0);  // this thread is the control thread
  telemetry::GatewayMetrics series(metrics, {"bench", "bench", "bench"});
  auto all = subjects(registry, environment, series, quick);
  const unsigned rounds = quick ? 2 : 9;
  for (unsigned round = 0; round <= rounds; ++round)
    for (auto& subject : all) measure(subject, selector, round > 0);
  bool clean = true;
  std::printf("{\"selection\":[");
  const char* separator = "\n";
  for (auto& subject : all) {
    std::sort(subject.ns.begin(), subject.ns.end());
    std::printf("%s{\"policy\":\"%s\",\"workers\":%u,\"ns\":%.1f,\"least_ns\":%.1f,\"allocations\":%.4f}",
                separator, subject.policy, subject.workers, subject.ns[subject.ns.size() / 2],
                subject.ns.front(), subject.allocations);
    separator = ",\n";
    clean &= subject.allocations == 0;
  }
  std::printf("\n]}\n");
  if (!clean) std::fprintf(stderr, "a selection has allocated memory; expected none\n");
  return clean ? 0 : 1;
}

}  // namespace
}  // namespace tidegate

int main(int argc, char** argv) { return tidegate::run(argc > 1 && std::strcmp(argv[1], "--quick") == 0); }
