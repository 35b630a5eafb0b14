#include "cli/engine_command.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <Poco/Exception.h>

#include "engine/engine_server.h"
#include "http/event_loop.h"
#include "http/listener.h"

namespace tidegate::cli {

namespace {

using engine::EngineOptions;
using engine::Flavor;

struct Settings {
  std::string listen = "127.0.0.1:9001";
  std::uint32_t drain_ms = 5000;
  EngineOptions engine;
  std::vector<std::string> faults;
};

void describe(CLI::App& app, Settings& settings) {
  EngineOptions& engine = settings.engine;
  engine::ModelConfig& model = engine.model;
  app.add_option("--listen", settings.listen, "Address and port; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--model", engine.models, "Served model; repeatable")->capture_default_str();
  app.add_option("--flavor", engine.flavor, "Whose API and metric names: sglang or vllm")
      ->transform(CLI::CheckedTransformer(
          std::vector<std::pair<std::string, Flavor>>{{"sglang", Flavor::sglang}, {"vllm", Flavor::vllm}}))
      ->default_str("sglang");
  app.add_option("--id", engine.id, "Sent as x-engine-id; by default the address");
  app.add_option("--seed", model.seed, "Same seed, same answers and faults")->capture_default_str();
  app.add_option("--speed", model.speed, "Divides every time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--mean-output-tokens", engine.mean_output_tokens, "Of answers without max_tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-model-len", engine.max_model_len, "Longest prompt, in tokens")->capture_default_str();
  app.add_option("--max-batch", model.max_batch, "Sequences in one step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-queue", model.max_queue, "Requests that wait; more get a 503")->capture_default_str();
  app.add_option("--max-prefill-tokens", model.max_prefill_tokens_per_step, "Prompt tokens in one step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--prefill-us-per-token", model.prefill_us_per_token)
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--decode-us-per-step", model.decode_us_per_step)
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--decode-us-per-sequence", model.decode_us_per_token_in_batch)
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--cache-tokens", model.cache_tokens, "Tokens that the prefix cache holds")
      ->capture_default_str();
  app.add_option("--fault", settings.faults,
                 "name=value, repeatable: refuse, hang, hang_body, reset_before_head, garbage, status with "
                 "status_rate and retry_after, stall, reset and close with after, slow, all, times")
      ->take_all();
  app.add_option("--drain-ms", settings.drain_ms, "How long SIGTERM waits for running answers")
      ->capture_default_str();
}

// Empty: all understood.
std::string read_faults(Settings& settings) {
  for (const std::string& fault : settings.faults) {
    const std::size_t equals = fault.find('=');
    const std::string value = equals == std::string::npos ? "1" : fault.substr(equals + 1);
    std::string problem = settings.engine.faults.set(fault.substr(0, equals), value);
    if (!problem.empty()) return problem;
  }
  return {};
}

// A thousand streams and more: as many descriptors as the process may have.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The first signal drains, within a time limit; the second one ends at once.
class Signals final : private http::Watched {
 public:
  Signals(http::EventLoop& loop, engine::EngineServer& server, std::uint32_t drain_ms)
      : loop_(loop), server_(server), drain_ms_(drain_ms) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::sigaddset(&set, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    fd_.reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    loop_.watch(*this, fd_.get(), EPOLLIN);
  }
  ~Signals() { loop_.unwatch(*this); }

 private:
  void on_ready(std::uint32_t) noexcept override {
    signalfd_siginfo info;
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      if (draining_) return end();
      draining_ = true;
      loop_.arm(limit_, drain_ms_);
      server_.drain([this] { loop_.stop(); });
    }
  }
  void end() noexcept {
    server_.end();
    loop_.stop();
  }

  http::EventLoop& loop_;
  engine::EngineServer& server_;
  std::uint32_t drain_ms_;
  bool draining_ = false;
  http::UniqueFd fd_;
  http::Timer limit_{http::Timer::of<&Signals::end>, this};
};

int run(Settings& settings) {
  raise_descriptor_limit();
  http::EventLoop loop;
  engine::EngineServer server(loop, settings.engine);
  Signals signals(loop, server, settings.drain_ms);
  server.open(settings.listen);
  const std::string host = settings.listen.substr(0, settings.listen.rfind(':'));
  std::printf("listening on %s:%u\n", host.c_str(), static_cast<unsigned>(server.port()));
  std::fflush(stdout);
  loop.run();
  return 0;
}

}  // namespace

int engine_main(int argc, char** argv) {
  Settings settings;
  CLI::App app("A simulated inference engine: OpenAI and SGLang HTTP over a model of continuous batching.",
               "tidegate engine");
  describe(app, settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const std::string problem = read_faults(settings); !problem.empty()) {
    std::fprintf(stderr, "tidegate engine: --fault: %s\n", problem.c_str());
    return 2;
  }
  try {
    return run(settings);
  } catch (const Poco::Exception& error) {  // what() is the name of its class
    std::fprintf(stderr, "tidegate engine: can't listen on %s: %s\n", settings.listen.c_str(),
                 error.displayText().c_str());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tidegate engine: can't listen on %s: %s\n", settings.listen.c_str(), error.what());
    return 1;
  }
}

}  // namespace tidegate::cli
