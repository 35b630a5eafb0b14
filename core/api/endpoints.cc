#include "api/endpoints.h"

#include <array>

namespace tidegate::api {

namespace {

using Kind = EndpointKind;
using Prompt = PromptMember;

// Entries of one path stand together; exact paths before "/*".
constexpr std::array table{
    Endpoint{"POST", "/v1/chat/completions", Kind::chat, Prompt::messages, true},
    Endpoint{"POST", "/v1/completions", Kind::completions, Prompt::prompt, true},
    Endpoint{"POST", "/v1/responses", Kind::responses, Prompt::input, true},
    Endpoint{"GET", "/v1/responses/*", Kind::responses},
    Endpoint{"DELETE", "/v1/responses/*", Kind::responses},
    Endpoint{"POST", "/v1/responses/*", Kind::responses},
    Endpoint{"POST", "/v1/messages", Kind::messages, Prompt::messages, true},
    Endpoint{"POST", "/v1/messages/*", Kind::messages, Prompt::messages, true},
    Endpoint{"POST", "/v1/embeddings", Kind::embeddings, Prompt::prompt, true},
    Endpoint{"POST", "/v1/rerank", Kind::rerank, Prompt::any, true},
    Endpoint{"POST", "/rerank", Kind::rerank, Prompt::any, true},
    Endpoint{"POST", "/v1/score", Kind::score, Prompt::any, true},
    Endpoint{"POST", "/v1/classify", Kind::classify, Prompt::any, true},
    Endpoint{"POST", "/v1/audio/transcriptions", Kind::transcriptions},
    Endpoint{"POST", "/v1/tokenize", Kind::tokenize, Prompt::any, true},
    Endpoint{"POST", "/tokenize", Kind::tokenize, Prompt::any, true},
    Endpoint{"POST", "/v1/detokenize", Kind::detokenize, Prompt::none, true},
    Endpoint{"POST", "/detokenize", Kind::detokenize, Prompt::none, true},
    Endpoint{"POST", "/generate", Kind::generate, Prompt::generate, true},
    Endpoint{"GET", "/v1/models", Kind::models},
    Endpoint{"GET", "/v1/models/*", Kind::models},
    Endpoint{"GET", "/get_model_info", Kind::model_info},
    Endpoint{"GET", "/model_info", Kind::model_info},
    Endpoint{"GET", "/get_server_info", Kind::server_info},
    Endpoint{"GET", "/server_info", Kind::server_info},
};

// Model names hold slashes ("org/name"), so ids may; what would climb or hide a path may not.
bool sane_id(std::string_view id) {
  if (id.empty() || id.size() > 512) return false;
  for (char c : id) {
    const bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
                    c == '_' || c == '.' || c == ':' || c == '/' || c == '@' || c == '~' || c == '+';
    if (!ok) return false;
  }
  for (std::size_t at = 0; at <= id.size();) {
    const std::size_t slash = id.find('/', at);
    const std::string_view segment = id.substr(at, slash == std::string_view::npos ? slash : slash - at);
    if (segment.empty() || segment == "." || segment == "..") return false;
    if (slash == std::string_view::npos) break;
    at = slash + 1;
  }
  return true;
}

bool matches(std::string_view pattern, std::string_view path, std::string_view& id) {
  if (!pattern.ends_with("/*")) return path == pattern;
  const std::string_view prefix = pattern.substr(0, pattern.size() - 1);
  if (!path.starts_with(prefix) || !sane_id(path.substr(prefix.size()))) return false;
  id = path.substr(prefix.size());
  return true;
}

std::string_view allow_for(std::string_view pattern) {
  if (pattern == "/v1/responses/*") return "GET, POST, DELETE";
  for (const Endpoint& entry : table) {
    if (entry.path == pattern) return entry.method == "GET" ? "GET, HEAD" : entry.method;
  }
  return {};
}

}  // namespace

std::span<const Endpoint> all_endpoints() noexcept { return table; }

EndpointMatch find_endpoint(std::string_view method, std::string_view path) noexcept {
  EndpointMatch result;
  for (const Endpoint& entry : table) {
    if (!matches(entry.path, path, result.id)) continue;
    if (method == entry.method || (method == "HEAD" && entry.method == "GET")) {
      result.endpoint = &entry;
      result.status = 200;
      result.allow = {};
      return result;
    }
    result.status = 405;
    result.allow = allow_for(entry.path);
  }
  return result;
}

}  // namespace tidegate::api
