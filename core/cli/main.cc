// The tidegate binary: hands over to its sub-commands.
// Exit codes: 0 well, 1 failed, 2 usage, 78 configuration.
#include <cstdio>
#include <string>
#include <string_view>

#include "cli/engine_command.h"
#include "cli/serve_command.h"

namespace {

constexpr const char* usage =
    "tidegate " TIDEGATE_VERSION
    ", a gateway for LLM engines whose every decision is a plugin\n\n"
    "  tidegate serve --config FILE    run the gateway (SIGHUP reloads, SIGUSR1 reopens the access log,\n"
    "                                  SIGTERM drains)\n"
    "  tidegate check --config FILE    say what is wrong with a configuration, without serving\n"
    "  tidegate engine --listen A:P --model NAME ...   run a simulated engine\n"
    "  tidegate --version\n\n"
    "Each command explains itself with --help.\n";

}  // namespace

int main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "serve") return tidegate::cli::serve_main(argc - 1, argv + 1);
  if (command == "check") return tidegate::cli::check_main(argc - 1, argv + 1);
  if (command == "engine") return tidegate::cli::engine_main(argc - 1, argv + 1);
  if (command == "--version" || command == "version") {
    std::puts("tidegate " TIDEGATE_VERSION);
    return 0;
  }
  const bool asked = command == "--help" || command == "-h" || command == "help";
  if (!asked && !command.empty())
    std::fprintf(stderr, "tidegate: unknown command '%s'; expected serve, check or engine\n\n", argv[1]);
  std::fputs(usage, asked ? stdout : stderr);
  return asked ? 0 : 2;
}
