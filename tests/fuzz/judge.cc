// The oracle over what engines and clients have read.
#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "http/header_rules.h"
#include "scene.h"

namespace tidegate::fuzz {
namespace {

using Json = nlohmann::json;

constexpr std::string_view error_event = R"(data: {"error":{)";

bool has(const std::string& plan, std::string_view word) { return plan.find(word) != plan.npos; }

bool same_path(const Message& got, const Message& asked) {
  return got.method == asked.method && got.target == asked.target && got.plan == asked.plan;
}

// What belongs to one hop, and must not be passed on.
bool of_the_hop(const Fields& sent, const std::string& name) {
  static constexpr std::array<std::string_view, 9> names = {
      "connection", "keep-alive",         "proxy-connection",   "te", "trailer", "upgrade",
      "expect",     "proxy-authenticate", "proxy-authorization"};
  return std::find(names.begin(), names.end(), name) != names.end() || sent.names("connection", name);
}

// What a gateway writes itself.
bool of_the_gateway(const std::string& name) {
  static constexpr std::array<std::string_view, 11> names = {
      "host",           "content-length",      "transfer-encoding", "accept-encoding",
      "x-request-id",   "x-forwarded-for",     "x-forwarded-proto", "x-forwarded-host",
      "http2-settings", "proxy-authorization", "traceparent"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What is wrong with the headers of `got` that came of `asked`, or nothing.
std::string odd_headers(const Message& got, const Message& asked) {
  for (const char* once : {"host", "x-request-id"})
    if (got.count(once) != 1) return std::string("not one ") + once;
  const bool sized = got.count("content-length") == 1;
  if (got.count("transfer-encoding") > 0 || (!sized && asked.method == "POST")) return "not one length";
  if (sized && got.value("content-length") != std::to_string(got.body.size())) return "a wrong length";
  if (!http::sane_request_id(got.request_id)) return "an odd request id";
  std::vector<Header> sent, found;
  for (const Header& h : asked.headers)
    if (!of_the_gateway(h.name) && !of_the_hop(asked, h.name) && h.name != "x-leg") sent.push_back(h);
  for (const Header& h : got.headers) {
    if (of_the_hop(Fields(), h.name)) return h.name + " of the client's hop";
    if (!of_the_gateway(h.name) && h.name != "x-leg") found.push_back(h);
  }
  if (sent == found) return {};
  const auto odd = std::mismatch(sent.begin(), sent.end(), found.begin(), found.end());
  return "other headers: " +
         (odd.first == sent.end() ? "an extra one" : odd.first->name + ": " + odd.first->value);
}

std::string without_cr(std::string text) {
  std::erase(text, '\r');
  return text;
}

// As any_plan changes it; what is held back until an event or a document is whole may be missing from the
// end.
bool is_transformed(const Answer& a, const std::string& body, bool cut) {
  const std::string whole = a.sse ? without_cr(a.body) : "[" + a.body + "]", got = without_cr(body);
  return whole == got || (cut && whole.starts_with(got.substr(0, got.find_last_not_of('\n') + 1)));
}

bool is_envelope(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("error") || !json["error"].is_object()) return false;
  for (const char* member : {"type", "code", "message", "param"})
    if (!json["error"].contains(member)) return false;
  return json["error"].size() == 4;
}

// Whether `got` is `asked`, as it stood or as a plan of two_legs edits it.
bool is_request(const Message& got, const Message& asked, bool& edited) {
  if (!same_path(got, asked)) return false;
  edited = false;
  if (got.body == asked.body && got.leg.empty()) return true;
  edited = true;
  Json want = Json::parse(asked.body, nullptr, false), found = Json::parse(got.body, nullptr, false);
  if (!want.is_object() || !found.is_object() || want.value("model", "") != "two_legs") return false;
  if (got.leg == "prefill") {
    if (!has(asked.plan, "edit")) return false;
    want["stream"] = false;
    want["max_tokens"] = 1;
    want.erase("user");
    return found == want;
  }
  if (!has(asked.plan, "capture") && !has(asked.plan, "maybe")) return false;
  if (found.value("kv_params", Json()) != Json{{"h", {1, "x"}}}) return false;
  want["kv_params"] = found["kv_params"];
  return found == want;
}

// Whether a new event may follow: nothing, an empty line, or comments behind these. Lines end in CR, LF or
// both.
bool between_events(std::string_view stream) {
  const auto is_end = [](char c) { return c == '\n' || c == '\r'; };
  while (!stream.empty()) {
    if (!is_end(stream.back())) return false;
    stream.remove_suffix(stream.ends_with("\r\n") ? 2 : 1);
    const std::size_t line = stream.find_last_of("\r\n") + 1;
    if (line == stream.size()) return true;
    if (stream[line] != ':') return false;
    stream = stream.substr(0, line);
  }
  return true;
}

// An id that the gateway can't keep is replaced by one of its own.
bool id_differs(const std::string& asked, const std::string& got) {
  return http::sane_request_id(asked) && asked != got;
}

}  // namespace

void Scene::judge_request(const Message& got, unsigned engine) {
  ++journal_.reads;
  if (got.host != ground_.worker(engine)->endpoint().authority)
    throw Failure("an engine got a request for another: Host: " + got.host);
  const bool cancel = got.path == "/abort_request" && got.body == R"({"rid":"r1"})";
  const Message* found = nullptr;
  std::string odd;
  unsigned times = 0, well = 0;
  for (const Client& c : clients_)
    for (const Message& asked : c.asked.complete) {
      if (cancel) {
        found = asked.plan.empty() ? found : &asked;
        continue;
      }
      bool edited = false;
      if (!is_request(got, asked, edited)) continue;
      if (id_differs(asked.request_id, got.request_id)) continue;
      found = &asked;
      ++times;
      odd = odd_headers(got, asked);
      well += odd.empty();
      reached_.edited += edited;
    }
  if (!found)
    throw Failure("an engine got a request that no client has sent: " + got.method + " " + got.path + " " +
                  got.request_id + " " + got.body.substr(0, 300));
  if (cancel) {
    ++journal_.cancels;
    return;
  }
  if (well == 0) throw Failure("an engine got a request with " + odd);
  const unsigned legs = found->plan.empty() ? 2 : 4;
  const auto bound = Ground::attempts * legs * times + gateway_->upstreams().resent;
  if (++reads_[found->request_id + " " + found->path + " " + found->body] > bound)
    throw Failure("engines got a request more often than attempts and legs allow: " + got.request_id);
}

void Scene::judge_clients() {
  for (const Client& c : clients_) {
    reached_.mutated += c.mutated;
    std::size_t interim = 0;
    const auto responses = read_responses(c.socket.in, c.socket.ended(), c.asked.complete, interim);
    const std::size_t asked = c.asked.complete.size();
    // One more is the answer to what is broken, late or cut off behind the whole ones.
    if (responses.size() > asked + 1)
      throw Failure("a client sent " + std::to_string(asked) + " whole requests and got " +
                    std::to_string(responses.size()) + " responses");
    if (responses.size() > asked && responses.back().status < 400 && !c.mutated)
      throw Failure("a client got a success for a request that it has not sent whole");
    for (std::size_t i = 0; i < responses.size(); ++i) {
      ++reached_.responses;
      ++reached_.statuses[responses[i].status];
      reached_.cut += !responses[i].whole;
      judge_error(responses[i], i < asked ? &c.asked.complete[i] : nullptr);
      if (i < asked) judge_response(c, c.asked.complete[i], responses[i]);
    }
    judge_service(c, responses);
    reached_.unanswered += asked > responses.size();
  }
}

// What is no engine's is the gateway's own, and says what is wrong in one form.
void Scene::judge_error(const Response& response, const Message* request) const {
  if (response.status < 400 || !response.whole || journal_.wild) return;
  if (request && request->method == "HEAD" && !response.request_id.empty()) return;
  for (const Answer& a : journal_.answers)
    if (a.request_id == response.request_id &&
        (a.body == response.body || is_transformed(a, response.body, false)))
      return;
  if (!is_envelope(response.body))
    throw Failure("an error without its envelope: " + std::to_string(response.status) + " " + response.body);
}

// Where nothing has gone wrong, every whole request is served.
void Scene::judge_service(const Client& c, const std::vector<Response>& responses) const {
  if (!gentle_ || journal_.bad || c.mutated || c.left) return;
  for (std::size_t i = 0; i < c.asked.complete.size(); ++i) {
    const Message& request = c.asked.complete[i];
    if (i >= responses.size()) {
      // A reset takes answers with it: that of who writes behind an answer that closes.
      if (!c.socket.broken && (responses.empty() || !responses.back().closes))
        throw Failure("a request without an answer while all is well: " + request.request_id + " behind " +
                      std::to_string(responses.size()) + " responses, " +
                      (c.socket.ended() ? "at the connection's end: " : "still open: ") + c.socket.in);
      return;
    }
    const int status = responses[i].status;
    const bool unknown =
        request.path == "/nowhere" || request.body.find(R"("model":"nobody")") != std::string::npos;
    if (unknown) {
      if (status != 404)
        throw Failure("not 404 but " + std::to_string(status) + " for " + request.request_id);
      continue;
    }
    if (request.body.empty()) continue;  // plans may want to edit what is not there
    if (!request.plan.empty() && dead_worker_) continue;
    if (!request.plan.empty() && journal_.unchanged) continue;
    const bool may_wait = renewed_ || !has(request.plan, "with");
    if (has(request.plan, "limit") || (may_wait && has(request.plan, "w")) ||
        (has(request.plan, "capture") && journal_.eventful))
      continue;
    ++reached_.owed;
    if (!responses[i].whole && c.socket.broken) return;
    if ((status != 200 && status != 204 && !(status == 304 && journal_.unchanged)) || !responses[i].whole)
      throw Failure("a request failed while all was well: " + request.request_id + " " +
                    std::to_string(status) + " " + responses[i].body.substr(0, 200));
  }
}

void Scene::judge_response(const Client& client, const Message& request, const Response& response) const {
  if (!response.request_id.empty() && id_differs(request.request_id, response.request_id))
    throw Failure("a response of another request: asked " + request.request_id + ", got " +
                  response.request_id);
  if (response.status != 200 || journal_.wild || request.method == "HEAD") return;
  // An id that a mutation has spoilt was replaced on the way.
  const std::string id = client.mutated ? response.request_id : request.request_id;
  const bool cut = !response.whole || response.until_close;
  // A broken event stream ends in an error event, which begins on a line of its own.
  std::size_t error = response.body.find(error_event);
  for (std::size_t n = error_event.size(); error == response.body.npos && cut && --n > 0;)
    if (response.body.ends_with(error_event.substr(0, n))) error = response.body.size() - n;
  if (error != std::string::npos) {
    ++reached_.error_events;
    const std::string before = response.body.substr(0, error);
    if (!between_events(before) && !cut)
      throw Failure("an error event does not stand alone behind: ..." +
                    before.substr(before.size() - std::min<std::size_t>(before.size(), 60)));
    for (const Answer& a : journal_.answers)
      for (std::size_t closing = 0; closing <= std::min<std::size_t>(4, before.size()); ++closing)
        if (a.request_id == id && a.sse && a.body.starts_with(before.substr(0, before.size() - closing)))
          return;
    for (const Answer& a : journal_.answers)
      if (a.request_id == id && a.sse && has(request.plan, "t") && is_transformed(a, before, true)) return;
    if (!cut) throw Failure("an error event behind what no engine has sent for " + id);
  }
  for (const Answer& a : journal_.answers) {
    if (a.request_id != id || a.custom != (response.count("x-custom") == 2)) continue;
    if (a.body == response.body) return;
    if (has(request.plan, "t") && is_transformed(a, response.body, cut || a.cut)) return;
    if ((cut || a.cut) && a.body.starts_with(response.body)) return;
    // What ends the open event may be all that came before the cut.
    if (cut && a.body.starts_with(response.body.substr(0, response.body.find_last_not_of("\r\n") + 1)))
      return;
  }
  throw Failure("a client got a body that no engine has sent for " + id + ": " +
                response.body.substr(0, 200));
}

}  // namespace tidegate::fuzz
