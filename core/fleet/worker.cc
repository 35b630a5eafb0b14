#include "fleet/worker.h"

#include <Poco/Exception.h>
#include <Poco/Net/DNS.h>
#include <Poco/Net/HostEntry.h>
#include <Poco/Net/IPAddress.h>
#include <Poco/Net/NetException.h>
#include <Poco/URI.h>
#include <Poco/UUIDGenerator.h>

#include <algorithm>
#include <stdexcept>

namespace tidegate::fleet {

Endpoint resolve(const std::string& url) {
  Poco::URI uri;
  try {
    uri = Poco::URI(url);
  } catch (const Poco::Exception& e) {
    throw std::runtime_error("worker url '" + url + "' is not a URL (" + e.displayText() +
                             "); expected http://host:port");
  }
  if (uri.getScheme() != "http")
    throw std::runtime_error("worker url '" + url + "': expected the scheme http, found '" + uri.getScheme() +
                             "'; TLS to workers is not served yet");
  if (uri.getHost().empty() || uri.getPort() == 0)
    throw std::runtime_error("worker url '" + url + "': expected http://host:port, found no " +
                             (uri.getHost().empty() ? "host" : "port"));
  Endpoint endpoint;
  const std::string host = uri.getHost();
  const bool v6 = host.find(':') != std::string::npos;
  endpoint.authority = (v6 ? "[" + host + "]" : host) + ":" + std::to_string(uri.getPort());
  endpoint.base_path = uri.getPath();
  while (!endpoint.base_path.empty() && endpoint.base_path.back() == '/') endpoint.base_path.pop_back();
  try {
    Poco::Net::IPAddress literal;
    endpoint.named = !Poco::Net::IPAddress::tryParse(host, literal);
    if (endpoint.named) {
      const Poco::Net::HostEntry entry = Poco::Net::DNS::hostByName(host);
      for (const auto& address : entry.addresses()) endpoint.addresses.emplace_back(address, uri.getPort());
      // As the order of the name service is kept within a family, and IPv4 comes first.
      std::stable_partition(endpoint.addresses.begin(), endpoint.addresses.end(), [](const auto& address) {
        return address.family() == Poco::Net::SocketAddress::IPv4;
      });
      if (endpoint.addresses.empty()) throw Poco::Net::NoAddressFoundException(host);
    } else {
      endpoint.addresses.emplace_back(literal, uri.getPort());
    }
    endpoint.address = endpoint.addresses.front();
  } catch (const Poco::Exception& e) {
    throw std::runtime_error("worker url '" + url + "': the name service has no address for '" + host +
                             "' (" + e.displayText() + ")");
  }
  return endpoint;
}

bool Endpoint::still_at(const Endpoint& found) const {
  return std::find(found.addresses.begin(), found.addresses.end(), address) != found.addresses.end();
}

Worker::Worker(std::shared_ptr<SlotTable> slots, SlotTable::Lease lease, WorkerSpec spec, Endpoint endpoint,
               Metrics metrics)
    : slots_(std::move(slots)),
      lease_(lease),
      spec_(std::move(spec)),
      endpoint_(std::move(endpoint)),
      metrics_(std::move(metrics)) {
  // From source and id, so that a worker keeps its name over restarts and reloads.
  Poco::UUID space("9b1c7c2e-6f0d-4d0e-8d5a-3f6f2a1f7c55");
  uuid_ = Poco::UUIDGenerator::defaultGenerator()
              .createFromName(space, spec_.source + "\n" + spec_.id)
              .toString();
}

Worker::~Worker() { slots_->release(lease_.slot); }

const char* role_name(std::uint32_t role) noexcept {
  switch (role) {
    case TG_ROLE_PREFILL: return "prefill";
    case TG_ROLE_DECODE: return "decode";
    case TG_ROLE_ENCODE: return "encode";
    default: return "any";
  }
}

const char* state_name(std::uint32_t state) noexcept {
  switch (state) {
    case TG_WORKER_STARTING: return "starting";
    case TG_WORKER_READY: return "ready";
    case TG_WORKER_DRAINING: return "draining";
    case TG_WORKER_UNHEALTHY: return "unhealthy";
    default: return "gone";
  }
}

}  // namespace tidegate::fleet
