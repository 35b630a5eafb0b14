#include "plugin/host.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "plugin/containment.h"
#include "plugin/host_http.h"

namespace tidegate::plugin {
namespace {

const void* find_service(const tg_host* host, const char* id) {
  if (!id) return nullptr;
  const std::string_view wanted(id);
  if (wanted == TG_HOST_LOG) return &log_service;
  if (wanted == TG_HOST_METRICS) return &metrics_service;
  if (wanted == TG_HOST_CONFIG) return &config_service;
  if (wanted == TG_HOST_CLOCK) return &clock_service;
  if (wanted == TG_HOST_CONTROL) return &control_service;
  if (wanted == TG_HOST_HTTP) return &http_service;
  if (!InstanceHost::of(host).children()) return nullptr;  // the rest is for policies
  if (wanted == TG_HOST_POLICY) return &policy_service;
  if (wanted == TG_HOST_REQUEST) return &request_service;
  return nullptr;
}

std::string cut(const char* field, std::size_t size) { return std::string(field, ::strnlen(field, size)); }

void copy_cut(char* to, std::size_t size, std::string_view text) noexcept {
  const std::size_t n = std::min(size - 1, text.size());
  std::memcpy(to, text.data(), n);
  to[n] = '\0';
}

}  // namespace

InstanceHost::InstanceHost(HostEnvironment& environment, Parts parts)
    : containment_(parts.containment
                       ? std::move(parts.containment)
                       : Containment::create(environment, {parts.component, parts.component, parts.instance},
                                             true, {})),
      environment_(environment),
      component_(std::move(parts.component)),
      instance_(std::move(parts.instance)),
      children_(parts.children),
      learn_(parts.learn),
      config_(std::make_unique<ConfigReader>(parts.config_json)),
      life_(make_life()) {
  abi_.size = sizeof(tg_host);
  abi_.abi_major = TG_ABI_MAJOR;
  abi_.abi_minor = TG_ABI_MINOR;
  abi_.product = "tidegate";
  abi_.version = TIDEGATE_VERSION;
  abi_.component = component_.c_str();
  abi_.instance = instance_.c_str();
  abi_.get_interface = find_service;
  abi_.self = this;
}

void InstanceHost::end_create() noexcept {
  if (config_ && config_->used()) unread_ = config_->unread();
  config_.reset();
}

tg_status set_error(tg_error* error, tg_status code, std::string_view where, std::string_view text) noexcept {
  if (error && TG_HAS(error, text)) {
    error->code = code;
    copy_cut(error->where, sizeof error->where, where);
    copy_cut(error->text, sizeof error->text, text);
  }
  return code;
}

std::string error_text(const tg_error& error) { return cut(error.text, sizeof error.text); }
std::string error_where(const tg_error& error) { return cut(error.where, sizeof error.where); }

}  // namespace tidegate::plugin
