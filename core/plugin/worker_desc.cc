// Checks what a discovery source says of a worker.
#include <cstddef>
#include <cstring>

#include <Poco/Exception.h>
#include <Poco/URI.h>

#include "plugin/discovery_runner.h"
#include "plugin/host.h"

namespace tidegate::plugin {
namespace {

constexpr std::uint32_t max_list = 4096;
constexpr std::size_t max_text = 2048;

Refusal bad(const std::string& id, const std::string& rest) {
  return Refusal{"worker '" + id + "': " + rest, ""};
}

bool sane(tg_str s) { return s.len <= max_text && (s.len == 0 || s.ptr); }

bool printable(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  return true;
}

// http://host:port or https://host:port and nothing else; a slash at the end is forgiven.
bool read_url(WorkerDesc& worker) {
  try {
    const Poco::URI uri(worker.url);
    const std::string& scheme = uri.getScheme();
    if ((scheme != "http" && scheme != "https") || uri.getHost().empty() || uri.getPort() == 0) return false;
    if (!uri.getUserInfo().empty() || !uri.getQuery().empty() || !uri.getFragment().empty()) return false;
    if (!uri.getPath().empty() && uri.getPath() != "/") return false;
    for (const char c : uri.getHost())
      if (static_cast<unsigned char>(c) <= 0x20 || std::strchr("/?#@\\", c)) return false;
    worker.tls = scheme == "https";
    worker.host = uri.getHost();
    worker.port = uri.getPort();
    const bool ipv6 = worker.host.find(':') != worker.host.npos;
    worker.url =
        scheme + "://" + (ipv6 ? "[" + worker.host + "]" : worker.host) + ":" + std::to_string(worker.port);
    return true;
  } catch (const Poco::Exception&) {
    return false;
  }
}

}  // namespace

Outcome<WorkerDesc> read_worker(const tg_worker_desc& given) {
  if (given.size < offsetof(tg_worker_desc, kv_blocks) + sizeof given.kv_blocks)
    return bad("", "expected a record of at least " + std::to_string(sizeof given) + " bytes, found " +
                       std::to_string(given.size) + "; set tg_worker_desc.size to its sizeof");
  for (const tg_str s : {given.id, given.url, given.zone, given.secret_ref, given.health_path})
    if (!sane(s))
      return bad("",
                 "expected texts of at most 2048 bytes, found a longer one or one without bytes; shorten it");
  WorkerDesc w;
  w.id = view(given.id);
  w.url = view(given.url);
  w.zone = view(given.zone);
  w.secret_ref = view(given.secret_ref);
  w.health_path = view(given.health_path);
  if (w.id.empty() || !printable(w.id))
    return bad(w.id, "expected an id without control characters, found none or others; name the worker");
  if (!read_url(w))
    return bad(w.id,
               "expected a url like http://host:port, found '" + w.url + "'; leave out path, query and user");
  if (w.tls)
    return bad(w.id, "expected a url like http://host:port, found '" + w.url +
                         "'; TLS to workers is not served yet");
  if (!w.health_path.empty() &&
      (w.health_path[0] != '/' || !printable(w.health_path) || w.health_path.find(' ') != w.health_path.npos))
    return bad(w.id, "expected a health path that starts with /, found '" + w.health_path + "'; correct it");
  if (given.model_count > max_list || given.label_count > max_list || (given.model_count && !given.models) ||
      (given.label_count && !given.labels))
    return bad(
        w.id,
        "expected at most 4096 models and labels with their lists, found more or none; check the counts");
  if (given.bootstrap_port > 65535)
    return bad(w.id, "expected a bootstrap port of at most 65535, found " +
                         std::to_string(given.bootstrap_port) + "; correct it");
  for (std::uint32_t i = 0; i < given.model_count; ++i) {
    if (!sane(given.models[i]) || given.models[i].len == 0)
      return bad(w.id, "expected names of models, found an empty one; leave it out");
    w.models.emplace_back(view(given.models[i]));
  }
  for (std::uint32_t i = 0; i < given.label_count; ++i) {
    const tg_kv& label = given.labels[i];
    if (!sane(label.key) || label.key.len == 0 || !sane(label.value))
      return bad(w.id, "expected labels with keys, found one without; leave it out");
    w.labels.emplace_back(view(label.key), view(label.value));
  }
  if (given.role < TG_ROLE_COUNT) w.role = given.role;
  w.draining = given.draining != 0;
  w.weight_milli = given.weight_milli ? given.weight_milli : 1000;
  w.bootstrap_port = given.bootstrap_port;
  w.max_running = given.max_running;
  w.block_tokens = given.block_tokens;
  w.ttl_ms = given.ttl_ms;
  w.kv_blocks = given.kv_blocks;
  return w;
}

}  // namespace tidegate::plugin
