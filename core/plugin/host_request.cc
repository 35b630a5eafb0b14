// tg.host.request/1 and tg.host.policy/1.
#include "plugin/host.h"
#include "plugin/policy_node.h"
#include "plugin/request.h"

namespace tidegate::plugin {
namespace {

// The ABI's handle is const for plugins; the request behind it is the host's own.
tg_request& mutable_request(const tg_request* request) { return *const_cast<tg_request*>(request); }

tg_str header(const tg_request* request, tg_str name) {
  return request ? to_str(request->header(view(name))) : tg_str{nullptr, 0};
}
void* allocate(const tg_request* request, std::size_t len, std::size_t align) {
  return request ? mutable_request(request).allocate(len, align) : nullptr;
}
bool remember(const tg_host* host, const tg_request*, const void* data, std::uint32_t len) {
  LearnQueue* queue = InstanceHost::of(host).learn();
  return queue && (data || len == 0) && queue->push(this_thread().index, data, len);
}

tg_status create_child(const tg_host* host, tg_str path, tg_child** child, tg_policy_traits* traits,
                       tg_error* error) {
  ChildPolicies* children = InstanceHost::of(host).children();
  if (!children || !child)
    return set_error(error, TG_E_INVALID, "", "expected a policy's host and a place for the child");
  try {
    return children->create_child(view(path), child, traits, error);
  } catch (const std::exception& e) {
    return set_error(error, TG_E_INTERNAL, view(path), e.what());
  }
}
tg_status create_scorer(const tg_host* host, tg_str path, tg_scorer_child** child, tg_error* error) {
  ChildPolicies* children = InstanceHost::of(host).children();
  if (!children || !child)
    return set_error(error, TG_E_INVALID, "", "expected a policy's host and a place for the scorer");
  try {
    return children->create_scorer(view(path), child, error);
  } catch (const std::exception& e) {
    return set_error(error, TG_E_INTERNAL, view(path), e.what());
  }
}
tg_status score(const tg_scorer_child* child, const tg_pick_args* args, float* scores) {
  if (!child || !args || !args->request || (!scores && args->candidate_count != 0)) return TG_E_INVALID;
  return child->node->score_for_parent(*args, scores);
}
tg_status pick(const tg_child* child, const tg_pick_args* args, const tg_plan** plan) {
  if (!child || !args || !plan || !args->request) return TG_E_INVALID;
  return child->node->pick_for_parent(*args, plan);
}

}  // namespace

const tg_host_request request_service = {.size = sizeof(tg_host_request),
                                         .reserved = 0,
                                         .header = header,
                                         .allocate = allocate,
                                         .remember = remember};
const tg_host_policy policy_service = {.size = sizeof(tg_host_policy),
                                       .reserved = 0,
                                       .create = create_child,
                                       .pick = pick,
                                       .create_scorer = create_scorer,
                                       .score = score};

}  // namespace tidegate::plugin
