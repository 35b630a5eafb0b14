// What: the engine's answers to everything that generates nothing: lists, information, metrics, debugging.
// Threads: the loop's.
// Ownership: returns strings.
// Errors: as replies.
#pragma once

#include <string>
#include <string_view>

#include "engine/options.h"
#include "http/head.h"

namespace tidegate::engine {

class EngineService;

struct Reply {
  int status = 200;
  std::string body;
  std::string_view content_type = "application/json";
};

std::string error_body(Flavor flavor, int status, std::string_view type, std::string_view message);

// Everything but generation. `body` is JSON or empty.
Reply make_reply(EngineService& engine, const http::RequestHead& head, std::string_view body);

}  // namespace tidegate::engine
