#include "engine/faults.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/text.h"

namespace tidegate::engine {

namespace {

// Each member by name, once; flags, JSON and to_json() all come from here.
template <class Visitor>
void visit(Visitor&& see, auto& faults) {
  see("refuse", faults.refuse, 0, 1);
  see("refuse_for_ms", faults.refuse_for_ms, 0, 3.6e6);
  see("reset_before_head", faults.reset_before_head, 0, 1);
  see("garbage", faults.garbage, 0, 1);
  see("hang", faults.hang, 0, 1);
  see("hang_body", faults.hang_body, 0, 1);
  see("status", faults.status, 400, 599);
  see("status_rate", faults.status_rate, 0, 1);
  see("retry_after", faults.retry_after, -1, 86'400);
  see("stall", faults.stall, 0, 1);
  see("reset", faults.reset, 0, 1);
  see("close", faults.close, 0, 1);
  see("after", faults.after, 0, 1e9);
  see("slow", faults.slow, 0.001, 1e6);
  see("all", faults.all, 0, 1);
  see("times", faults.times, -1, 1e15);
}

std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace

std::string Faults::set(std::string_view name, std::string_view value) {
  if (value == "true") value = "1";
  if (value == "false") value = "0";
  double wanted = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), wanted);
  std::string problem = "unknown fault '" + std::string(name) + "'; known are:";
  bool known = false;
  visit(
      [&](std::string_view candidate, auto& member, double least, double most) {
        if (candidate != name) {
          if (!known) problem.append(" ").append(candidate);
          return;
        }
        known = true;
        if (error != std::errc() || end != value.data() + value.size() ||
            !(wanted >= least && wanted <= most)) {
          problem = "fault '" + std::string(name) + "': expected a number from " + number(least) + " to " +
                    number(most) + ", found '" + std::string(value) + "'";
          return;
        }
        problem.clear();
        member = static_cast<std::remove_reference_t<decltype(member)>>(wanted);
      },
      *this);
  return problem;
}

std::string Faults::set_json(std::string_view json) {
  const auto object = nlohmann::json::parse(json, nullptr, false);
  if (!object.is_object()) return "expected a JSON object such as {\"hang\": 1}";
  Faults changed = *this;
  for (const auto& [name, value] : object.items()) {
    std::string problem = changed.set(name, value.dump());
    if (!problem.empty()) return problem;
  }
  *this = changed;
  return {};
}

std::string Faults::to_json() const {
  std::string out;
  visit(
      [&out](std::string_view name, const auto& member, double, double) {
        out.append(out.empty() ? "{" : ",").append(json_string(name)).append(":");
        if constexpr (std::is_same_v<decltype(member), const bool&>) {
          out += member ? "true" : "false";
        } else {
          out += number(static_cast<double>(member));
        }
      },
      *this);
  return out + "}";
}

Fault choose_fault(Faults& faults, std::uint64_t seed, std::uint64_t request_number) {
  if (faults.times == 0) return Fault::none;
  const std::array<std::pair<Fault, double>, 8> tries{{{Fault::reset_before_head, faults.reset_before_head},
                                                       {Fault::garbage, faults.garbage},
                                                       {Fault::hang, faults.hang},
                                                       {Fault::hang_body, faults.hang_body},
                                                       {Fault::status, faults.status_rate},
                                                       {Fault::stall, faults.stall},
                                                       {Fault::reset, faults.reset},
                                                       {Fault::close, faults.close}}};
  for (const auto& [fault, rate] : tries) {
    const std::uint64_t draw = mix(mix(seed + static_cast<std::uint64_t>(fault)) ^ request_number);
    if (unit_interval(draw) >= rate) continue;
    if (faults.times > 0) --faults.times;
    return fault;
  }
  return Fault::none;
}

}  // namespace tidegate::engine
