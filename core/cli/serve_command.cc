#include "cli/serve_command.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "cli/service_manager.h"
#include "config/config.h"
#include "config/schema.h"
#include "control/gateway.h"
#include "plugin/discovery_runner.h"
#include "telemetry/log.h"

namespace tidegate::cli {
namespace log = telemetry::log;
namespace {

constexpr int exit_configuration = 78;  // EX_CONFIG of sysexits.h

// Beside the binary where a build tree or an unpacked archive has them, else where the package puts them.
std::string packaged_plugins() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    auto beside = self.parent_path().parent_path() / "lib" / "tidegate" / "plugins";
    if (std::filesystem::is_directory(beside, error)) return beside.string();
  }
  return TIDEGATE_PLUGIN_DIR;
}

void print(const std::vector<std::string>& lines) {
  for (const auto& line : lines) std::fprintf(stderr, "%s\n", line.c_str());
}

void start_log(const config::LogConfig& config) {
  log::Options options;
  options.format = config.format == config::LogFormat::json ? log::Format::json : log::Format::text;
  switch (config.level) {
    case config::LogLevel::trace: options.level = log::Level::trace; break;
    case config::LogLevel::debug: options.level = log::Level::debug; break;
    case config::LogLevel::info: options.level = log::Level::info; break;
    case config::LogLevel::warning: options.level = log::Level::warn; break;
    case config::LogLevel::error: options.level = log::Level::error; break;
  }
  log::start(options);
}

void raise_descriptor_limit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

// A discovery plugin that ignored its stop is still inside the gateway: nothing may be destroyed under its
// feet.
int ended(int code) {
  const std::uint32_t left = plugin::DiscoveryRunner::left_behind();
  if (left > 0) log::error("ending around discovery sources that do not return", {{"sources", left}});
  if (code == 0) log::info("ended");
  log::stop();
  if (left > 0) ::_exit(code);
  return code;
}

struct Arguments {
  std::string config;
  bool print_config = false, schema = false;
};

// True: go on. Else `code` is the exit code.
bool parse(int argc, char** argv, const char* about, bool offer_schema, Arguments& arguments, int& code) {
  CLI::App app(about, std::string("tidegate ") + argv[0]);
  auto* config = app.add_option("-c,--config", arguments.config,
                                "the YAML file; conf.d/*.yaml beside it is read as well");
  app.add_flag("--print-config", arguments.print_config,
               "print the configuration with every default filled in and secrets hidden");
  if (offer_schema)
    app.add_flag("--schema", arguments.schema, "print the JSON Schema of the configuration, for editors");
  try {
    app.parse(argc, argv);
    if (config->empty() && !arguments.schema) throw CLI::RequiredError("--config");
    return true;
  } catch (const CLI::ParseError& e) {
    code = app.exit(e) == 0 ? 0 : 2;
    return false;
  }
}

void reload(control::Gateway& gateway, const std::string& path) {
  auto loaded = config::load_config(path);
  for (const auto& warning : loaded.warnings) log::warn(warning);
  std::vector<std::string> errors = loaded.errors;
  if (loaded.config) {
    const config::LogConfig wanted = loaded.config->log;
    errors = gateway.reload(std::move(*loaded.config));
    if (errors.empty()) start_log(wanted);
  } else {
    gateway.reload_refused();
  }
  for (const auto& error : errors) log::error(error);
  if (errors.empty())
    log::info("reloaded", {{"config", path}});
  else
    log::error("the reload is refused; the configuration in force serves on",
               {{"config", path}, {"errors", errors.size()}});
}

// The next signal; 0 when the time is up (a pace of 0: never).
int next_signal(const sigset_t& signals, std::chrono::milliseconds pace) {
  int signal = 0;
  if (pace.count() == 0) return sigwait(&signals, &signal) == 0 ? signal : 0;
  const timespec limit{static_cast<time_t>(pace.count() / 1000),
                       static_cast<long>(pace.count() % 1000) * 1'000'000};
  signal = sigtimedwait(&signals, nullptr, &limit);
  return signal > 0 ? signal : 0;
}

void serve_until_ended(control::Gateway& gateway, ServiceManager& manager, const sigset_t& signals,
                       const std::string& config) {
  constexpr std::string_view serving = "serving";
  manager.ready(serving);
  while (true) {
    // As /liveness: whose call of a plugin never returns is to be restarted.
    if (!gateway.stuck()) manager.alive();
    const int signal = next_signal(signals, manager.watchdog_pace());
    if (signal == 0) continue;
    if (signal == SIGTERM || signal == SIGINT) return manager.stopping();
    if (signal == SIGHUP) {
      manager.reloading();
      reload(gateway, config);
      manager.ready(serving);
    }
    gateway.reopen_logs();
  }
}

}  // namespace

int serve_main(int argc, char** argv) {
  Arguments arguments;
  int code = 0;
  if (!parse(argc, argv,
             "Runs the gateway. SIGHUP reloads the configuration and opens the access log anew, SIGUSR1 only "
             "the latter, SIGTERM drains and ends.",
             false, arguments, code))
    return code;
  // Before any thread is made, so that all of them inherit it and sigwait() below gets every signal.
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGHUP, SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  auto loaded = config::load_config(arguments.config);
  print(loaded.warnings);
  if (!loaded.config) {
    print(loaded.errors);
    return exit_configuration;
  }
  if (arguments.print_config) {
    std::fputs(loaded.effective.c_str(), stdout);
    return 0;
  }
  start_log(loaded.config->log);
  const auto server = loaded.config->server;
  ServiceManager manager;
  {
    control::Gateway gateway(std::move(*loaded.config), packaged_plugins());
    if (auto errors = gateway.start(); !errors.empty()) {
      gateway.stop();
      print(errors);
      return ended(exit_configuration);
    }
    log::info("serving", {{"listen", server.listen.host + ":" + std::to_string(gateway.port())},
                          {"control_port", gateway.control_port()},
                          {"metrics_port", gateway.metrics_port()},
                          {"threads", config::effective_threads(server)},
                          {"version", TIDEGATE_VERSION}});
    serve_until_ended(gateway, manager, signals, arguments.config);
    gateway.drain();
    if (plugin::DiscoveryRunner::left_behind() > 0) return ended(0);
  }
  return ended(0);
}

int check_main(int argc, char** argv) {
  Arguments arguments;
  int code = 0;
  if (!parse(argc, argv,
             "Says what is wrong with a configuration: syntax, keys, values, plugins and their settings.",
             true, arguments, code))
    return code;
  if (arguments.schema) {
    std::puts(config::schema_json().c_str());
    return 0;
  }
  auto loaded = config::load_config(arguments.config);
  print(loaded.warnings);
  std::vector<std::string> errors = loaded.errors;
  if (loaded.config) errors = control::Gateway::check(*loaded.config, packaged_plugins());
  print(errors);
  if (!errors.empty()) return exit_configuration;
  if (arguments.print_config)
    std::fputs(loaded.effective.c_str(), stdout);
  else
    std::printf("%s: well\n", arguments.config.c_str());
  return 0;
}

}  // namespace tidegate::cli
