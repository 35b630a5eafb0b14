// The driver: corpus first, then programs made at random or by mutation of those that reached something new,
// until the time is up. A failing program is made smaller, printed in hexadecimal and left in a file; the
// exit code is 1.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "scene.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace tidegate::fuzz {
namespace {

using Program = std::vector<std::uint8_t>;

struct Options {
  double seconds = 10;
  std::uint64_t seed = 0;
  std::string one, crash = "fuzz-crash.bin";
};

const Program* under_test = nullptr;  // for the handlers of a crash
char crash_path[256] = "fuzz-crash.bin";

void write_crash() noexcept {
  if (!under_test) return;
  const int fd = ::open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  [[maybe_unused]] const auto n = ::write(fd, under_test->data(), under_test->size());
  ::close(fd);
  std::fprintf(stderr, "\ngateway_fuzz: the program is in %s; again: gateway_fuzz --case %s\n", crash_path,
               crash_path);
}

void on_signal(int number) {
  write_crash();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

class Fuzzer {
 public:
  explicit Fuzzer(const Options& options) : options_(options), random_(options.seed) {}

  bool play(const Program& program, std::string& why) {
    under_test = &program;
    Reached now;
    try {
      Scene(ground_, front_, now).play(program);
    } catch (const Failure& failure) {
      why = failure.what();
    }
    under_test = nullptr;
    ++cases_;
    if (!why.empty()) return false;
    note(program, now);
    return true;
  }

  int run() {
    std::string why;
    if (!options_.one.empty()) {
      const Program program = load(options_.one);
      if (!play(program, why)) return report(program, why, false);
      report_totals(0);
      return 0;
    }
    for (const auto& entry : corpus()) {
      const Program program = load(entry);
      std::printf("corpus: %s\n", entry.filename().c_str());
      if (!play(program, why)) return report(program, why, false);
    }
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    while (elapsed() < options_.seconds) {
      const Program program = make();
      if (!play(program, why)) return report(program, why, true);
    }
    report_totals(elapsed());
    return 0;
  }

 private:
  static std::set<std::filesystem::path> corpus() {
    std::set<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(FUZZ_CORPUS)) files.insert(entry.path());
    return files;
  }
  static Program load(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error("can't read " + path.string());
    return Program(std::istreambuf_iterator<char>(in), {});
  }

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  Program make() {
    Program program;
    if (kept_.empty() || below(3) == 0) {
      program.resize(8 + below(120));
      for (auto& b : program) b = static_cast<std::uint8_t>(random_());
      return program;
    }
    program = kept_[below(kept_.size())];
    for (std::uint64_t i = 0, n = 1 + below(6); i < n; ++i) {
      const auto at = static_cast<std::ptrdiff_t>(below(program.size()));
      switch (below(5)) {
        case 0: program[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(random_()); break;
        case 1: program.insert(program.begin() + at, static_cast<std::uint8_t>(random_())); break;
        case 2: program[static_cast<std::size_t>(at)] ^= static_cast<std::uint8_t>(1u << below(8)); break;
        case 3:
          if (program.size() > 8) program.erase(program.begin() + at);
          break;
        default: {
          const Program& other = kept_[below(kept_.size())];
          const auto from = static_cast<std::ptrdiff_t>(below(other.size()));
          const auto count = std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(below(24)),
                                                      static_cast<std::ptrdiff_t>(other.size()) - from);
          program.insert(program.begin() + at, other.begin() + from, other.begin() + from + count);
        }
      }
    }
    if (program.size() > 400) program.resize(400);
    return program;
  }

  // Counters' deltas, as powers of two, are what a program has reached.
  void note(const Program& program, const Reached& now) {
    auto log = [](double n) {
      unsigned l = 0;
      for (; n >= 1; n /= 2) ++l;
      return std::to_string(l);
    };
    const auto& m = ground_.metrics;
    std::vector<double> numbers = {m.retries.value(), m.client_cancelled.value(),
                                   m.body_bytes_buffered.value()};
    for (const auto& leg : m.legs) numbers.push_back(leg.value());
    for (unsigned kind = 0; kind < telemetry::worker_error_count; ++kind) {
      double sum = 0;
      for (const auto& w : ground_.worker_metrics) sum += w->errors[kind].value();
      numbers.push_back(sum);
    }
    std::string mark;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const double before = i < before_.size() ? before_[i] : 0;
      mark += log(numbers[i] - before) + ",";
    }
    before_ = std::move(numbers);
    for (const auto& [status, n] : now.statuses) {
      mark += std::to_string(status) + " ";
      total_.statuses[status] += n;
    }
    for (const auto& [sum, n] : {std::pair{&total_.responses, now.responses},
                                 {&total_.cut, now.cut},
                                 {&total_.mutated, now.mutated},
                                 {&total_.engine_requests, now.engine_requests},
                                 {&total_.cancels, now.cancels},
                                 {&total_.edited, now.edited},
                                 {&total_.error_events, now.error_events},
                                 {&total_.unanswered, now.unanswered},
                                 {&total_.owed, now.owed},
                                 {&total_.mid_flight, now.mid_flight}}) {
      *sum += n;
      mark += n ? "+" : "-";
    }
    if (kept_.size() < 2000 && !program.empty() && seen_.insert(mark).second) kept_.push_back(program);
  }

  // Fewer bytes that fail in the same words; each try twice as long as needed is cheap enough.
  Program smaller(Program program, const std::string& why) {
    const auto words = why.substr(0, 30);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(40);
    for (std::size_t piece = program.size() / 2; piece > 0; piece /= 2)
      for (std::size_t at = 0; at + piece <= program.size() && std::chrono::steady_clock::now() < end;) {
        Program shorter = program;
        shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(at),
                      shorter.begin() + static_cast<std::ptrdiff_t>(at + piece));
        // Counts that a failure has left behind would fail every later case: each try has a ground of its
        // own.
        Fuzzer fresh(options_);
        std::string text;
        fresh.play(shorter, text);
        if (text.starts_with(words))
          program = std::move(shorter);
        else
          at += piece;
      }
    return program;
  }

  int report(Program program, const std::string& why, bool shrink) {
    std::fprintf(stderr, "gateway_fuzz: case %llu of seed %llu: %s\n",
                 static_cast<unsigned long long>(cases_), static_cast<unsigned long long>(options_.seed),
                 why.c_str());
    if (shrink) program = smaller(std::move(program), why);
    for (const auto b : program) std::fprintf(stderr, "%02x", b);
    under_test = &program;
    write_crash();
    under_test = nullptr;
    return 1;
  }

  void report_totals(double seconds) {
    std::string statuses;
    for (const auto& [status, n] : total_.statuses)
      statuses += " " + std::to_string(status) + ":" + std::to_string(n);
    static constexpr const char* kinds[] = {"connect", "timeout", "reset", "protocol",
                                            "5xx",     "4xx",     "health"};
    std::string faults;
    for (unsigned kind = 0; kind < 6; ++kind) {
      double sum = 0;
      for (const auto& w : ground_.worker_metrics) sum += w->errors[kind].value();
      faults += std::string(" ") + kinds[kind] + ":" + std::to_string(static_cast<long long>(sum));
    }
    const auto n = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
    std::printf(
        "gateway_fuzz: seed %llu, %llu cases, %.0f cases/s, %zu kept; statuses%s; faults%s; retries %.0f, "
        "client gone "
        "%.0f, cut responses %llu, error events %llu, cancel actions %llu, edited %llu, engine requests "
        "%llu, "
        "mutated clients %llu, shut down in flight %llu, owed and served %llu\n",
        n(options_.seed), n(cases_), seconds > 0 ? static_cast<double>(cases_) / seconds : 0, kept_.size(),
        statuses.c_str(), faults.c_str(), ground_.metrics.retries.value(),
        ground_.metrics.client_cancelled.value(), n(total_.cut), n(total_.error_events), n(total_.cancels),
        n(total_.edited), n(total_.engine_requests), n(total_.mutated), n(total_.mid_flight), n(total_.owed));
  }

  Options options_;
  std::mt19937_64 random_;
  Ground ground_;
  EnginePort front_ = open_port(true);
  Reached total_;
  std::vector<Program> kept_;
  std::set<std::string> seen_;
  std::vector<double> before_;
  std::uint64_t cases_ = 0;
};

int usage() {
  std::fputs("gateway_fuzz [--seconds N] [--seed N] [--case FILE] [--crash FILE]\n", stderr);
  return 2;
}

int run(int argc, char** argv) {
  Options options;
  options.seed = std::random_device()();
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) return usage();
    if (name == "--seconds")
      options.seconds = std::atof(argv[i + 1]);
    else if (name == "--seed")
      options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    else if (name == "--case")
      options.one = argv[i + 1];
    else if (name == "--crash")
      options.crash = argv[i + 1];
    else
      return usage();
  }
  std::snprintf(crash_path, sizeof crash_path, "%s", options.crash.c_str());
  if (__sanitizer_set_death_callback) {
    __sanitizer_set_death_callback(write_crash);
  } else {
    for (const int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE}) std::signal(number, on_signal);
  }
  return Fuzzer(options).run();
}

}  // namespace
}  // namespace tidegate::fuzz

int main(int argc, char** argv) {
  try {
    return tidegate::fuzz::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gateway_fuzz: %s\n", error.what());
    return 1;
  }
}
