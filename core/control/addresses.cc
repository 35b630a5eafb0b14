#include "control/addresses.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "config/document.h"

namespace tidegate::control {
namespace {

std::string authorization_of(const fleet::WorkerSpec& spec) {
  if (spec.secret_ref.empty()) return {};
  std::string key;
  if (spec.secret_ref.starts_with("${") && spec.secret_ref.ends_with("}")) {
    const std::string name = spec.secret_ref.substr(2, spec.secret_ref.size() - 3);
    const char* value = std::getenv(name.c_str());
    if (!value) throw std::runtime_error("the environment variable " + name + " is not set; set it");
    key = value;
  } else {
    auto secret = config::resolve_secret(spec.secret_ref);
    if (!secret.ok) throw std::runtime_error(secret.error);
    key = std::move(secret.value);
  }
  // It becomes a header's value. What it is is not said.
  const auto fits = [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; };
  if (key.empty() || !std::all_of(key.begin(), key.end(), fits))
    throw std::runtime_error("expected a key of one word, found an empty one, blanks or control characters");
  return "Bearer " + key;
}

}  // namespace

fleet::ResolvedSpec reach(fleet::WorkerSpec spec) noexcept {
  fleet::ResolvedSpec reached{std::move(spec), std::nullopt};
  try {
    auto endpoint = fleet::resolve(reached.spec.url);
    try {
      endpoint.authorization = authorization_of(reached.spec);
      reached.endpoint = std::move(endpoint);
    } catch (const std::exception& e) {
      reached.problem = "worker '" + reached.spec.id + "': its key: " + e.what();
    }
  } catch (const std::exception& e) {
    reached.problem = e.what();
  }
  return reached;
}

void Addresses::set_interval(std::uint32_t interval_ms) {
  if (!thread_) thread_ = std::make_unique<BlockingPool>(1);
  interval_ms_ = interval_ms;
  all_at_ms_ = control_.now_ms() + interval_ms_;
  control_.arm(due_, std::min(interval_ms_, retry_ms));
}

void Addresses::stop() {
  stopped_.store(true, std::memory_order_relaxed);
  due_.disarm();
  thread_.reset();
}

void Addresses::on_due() noexcept {
  control_.arm(due_, std::min(interval_ms_, retry_ms));
  if (asking_) return;
  const bool all = control_.now_ms() >= all_at_ms_;
  if (all) all_at_ms_ = control_.now_ms() + interval_ms_;
  if (auto specs = fleet_.to_reach(all); !specs.empty()) ask(std::move(specs));
}

void Addresses::ask(std::vector<fleet::WorkerSpec> specs) {
  asking_ = thread_->post([this, specs = std::move(specs)]() mutable {
    std::vector<fleet::ResolvedSpec> found;
    for (auto& spec : specs) {
      if (stopped_.load(std::memory_order_relaxed)) return;
      found.push_back(reach_(std::move(spec)));
    }
    control_.post([this, found = std::move(found)]() mutable {
      asking_ = false;
      if (stopped_.load(std::memory_order_relaxed)) return;
      for (auto& one : found) fleet_.reached(std::move(one));
    });
  });
}

}  // namespace tidegate::control
