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
// Seen by plugins too, which get their malloc from the program that loads them.
extern "C" void* malloc(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}

namespace tidegate {
namespace {

using Clock = std::chrono::steady_clock;

routing::ViewPtr make_view(const std::shared_ptr<plugin::PolicyNode>& policy,
                           const std::shared_ptr<plugin::PolicyNode>& fallback,
                           const std::shared_ptr<fleet::SlotTable>& slots, std::uint32_t count) {
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
  return std::make_shared<routing::View>(graph, members, std::move(tables));
}

struct Figures {
  double ns = 0;
  double allocations = 0;
};

// The best of several rounds: what the code costs, not what else the machine did.
Figures measure(const routing::View& view, routing::Selector& selector, unsigned rounds, unsigned picks) {
  const routing::Target target = view.find("bench", "/v1/chat/completions");
  Figures best{1e18, 0};
  for (unsigned round = 0; round <= rounds; ++round) {
    const std::uint64_t before = allocations.load();
    const auto start = Clock::now();
    for (unsigned i = 0; i < picks; ++i) {
      tg_request request(nullptr);
      tg_pick_args args{};
      args.request_id = i;
      args.prompt_tokens_est = 100;
      const routing::Choice choice = selector.choose(view, target, request, args, {});
      if (choice.kind != routing::Choice::Kind::select || choice.fallback) std::abort();
      const tg_leg& leg = choice.plan->legs[0];
      tg_completion completion{};
      completion.size = sizeof completion;
      choice.policy->complete(request, leg.cookie, leg.ticket, completion);
    }
    const double ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count() / picks;
    if (round == 0) continue;  // warms caches and pools
    best.ns = std::min(best.ns, ns);
    best.allocations = std::max(best.allocations, static_cast<double>(allocations.load() - before) / picks);
  }
  return best;
}

int run(bool quick) {
  http::EventLoop loop;
  telemetry::MetricsRegistry metrics;
  control::Environment environment(loop, metrics);
  plugin::Registry registry({{}, TIDEGATE_PLUGINS, false}, &environment);
  routing::Selector selector(environment);
  loop.run_once(0);  // this thread is the control thread
  bool clean = true;
  std::printf("{\"selection\":[");
  const char* separator = "\n";
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
    for (std::uint32_t count : {8u, 64u, 1000u, 4096u}) {
      auto slots = std::make_shared<fleet::SlotTable>();
      const auto view = make_view(policy, fallback, slots, count);
      const bool scans = std::strcmp(name, "least_requests") == 0;
      const Figures f = measure(*view, selector, quick ? 2 : 9, quick ? 2'000 : scans ? 20'000 : 300'000);
      std::printf("%s{\"policy\":\"%s\",\"workers\":%u,\"ns\":%.1f,\"allocations\":%.4f}", separator, name,
                  count, f.ns, f.allocations);
      separator = ",\n";
      clean &= f.allocations == 0;
    }
  }
  std::printf("\n]}\n");
  if (!clean) std::fprintf(stderr, "a selection has allocated memory; expected none\n");
  return clean ? 0 : 1;
}

}  // namespace
}  // namespace tidegate

int main(int argc, char** argv) { return tidegate::run(argc > 1 && std::strcmp(argv[1], "--quick") == 0); }
