// load_client: puts a proxy under load, checks every answer byte for byte or by its count, and prints one
// JSON report. It takes the proxy's CPU and memory itself, at the very edges of the window in which it
// counts.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "load.h"
#include "wire.h"

namespace tidegate::bench {
namespace {

// Words as a prompt has them, with an escape now and then; the same bytes in every run.
std::string prose(std::size_t size) {
  static constexpr std::string_view kWords[] = {"the",  "tide",  "carries", "a",      "small", "boat",
                                                "past", "lamps", "and",     "voices", "until", "morning"};
  std::string text;
  for (std::uint64_t seed = 1, word = 0; text.size() < size; ++word) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    text.append(kWords[(seed >> 33) % std::size(kWords)]);
    text.append(word % 40 == 39 ? ".\\n" : " ");
  }
  text.resize(size);
  if (!text.empty() && text.back() == '\\') text.back() = '.';
  return text;
}

std::string microseconds(std::uint64_t ns) { return std::to_string(static_cast<double>(ns) / 1000); }

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  return out;
}

void print(const LoadReport& report) {
  const Histogram& latency = report.latency_ns;
  std::string out = "{";
  const auto number = [&out](const char* name, const std::string& value) {
    out.append(out.size() > 1 ? ",\"" : "\"").append(name).append("\":").append(value);
  };
  number("requests", std::to_string(report.requests));
  number("total_requests", std::to_string(report.total_requests));
  number("chunks", std::to_string(report.chunks));
  number("total_chunks", std::to_string(report.total_chunks));
  number("errors", std::to_string(report.errors));
  number("window_s", std::to_string(static_cast<double>(report.end.at_ns - report.begin.at_ns) / kSecond));
  number("open_s", std::to_string(report.open_s));
  number("samples", std::to_string(latency.count()));
  number("p50_us", microseconds(latency.quantile(0.5)));
  number("p99_us", microseconds(latency.quantile(0.99)));
  number("max_us", microseconds(latency.max()));
  number("cpu_us", microseconds(report.end.cpu_ns - report.begin.cpu_ns));
  number("watched", std::to_string(report.end.alive));
  number("rss_idle", std::to_string(report.idle.rss_bytes));
  number("rss_begin", std::to_string(report.begin.rss_bytes));
  number("rss_end", std::to_string(report.end.rss_bytes));
  std::string messages = "{";
  for (const auto& [message, count] : report.messages) {
    messages.append(messages.size() > 1 ? ",\"" : "\"").append(escaped(message)).append("\":");
    messages.append(std::to_string(count));
  }
  number("messages", messages + "}");
  std::puts((out + "}").c_str());
}

}  // namespace

std::string make_request(const LoadOptions& options, const std::string& members) {
  std::string body = "{" + members;
  if (options.delay_ms > 0) body += std::string(kDelayMember) + std::to_string(options.delay_ms) + ',';
  body += R"("model":")" + options.model + R"(","temperature":0.7,"max_tokens":256,"messages":[)";
  body += R"({"role":"system","content":"You are a helpful assistant."},{"role":"user","content":")";
  static constexpr std::string_view kEnd = "\"}]}";
  const std::size_t used = body.size() + kEnd.size();
  body += prose(options.body_bytes > used ? options.body_bytes - used : 1);
  body += kEnd;
  std::string request = "POST " + options.path + " HTTP/1.1\r\nHost: " + options.target.host + ':';
  request += std::to_string(options.target.port);
  request += "\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: bench/1.0\r\n";
  request +=
      "Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\nContent-Type: application/json\r\n";
  request += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  return request + body;
}

}  // namespace tidegate::bench

int main(int argc, char** argv) {
  namespace bench = tidegate::bench;
  CLI::App app("Loads a proxy with requests or open streams and prints a JSON report.");
  app.require_subcommand(1);
  bench::LoadOptions options;
  std::string target;
  const auto common = [&](CLI::App* mode) {
    mode->add_option("--target", target, "the proxy's address, like 127.0.0.1:8080")->required();
    mode->add_option("--model", options.model, "the model asked for");
    mode->add_option("--connections", options.connections, "connections, or streams, at most")->required();
    mode->add_option("--body-bytes", options.body_bytes, "size of the request's JSON");
    mode->add_option("--warmup", options.warmup_s, "seconds before the window; the time to open all streams");
    mode->add_option("--window", options.window_s, "seconds measured");
    mode->add_option("--watch", options.watched, "processes whose CPU and memory to take")->delimiter(',');
  };
  CLI::App* posts = app.add_subcommand("posts", "closed loop, or an open loop with --rate");
  common(posts);
  posts->add_option("--rate", options.rate, "arrivals per second (0: closed loop)");
  posts->add_option("--delay-ms", options.delay_ms, "how long the backend thinks before it answers");
  CLI::App* streams = app.add_subcommand("streams", "open streams of paced chunks");
  common(streams);
  streams->add_option("--rate", options.rate, "chunks per second of each stream")->required();
  CLI11_PARSE(app, argc, argv);
  bench::raise_descriptor_limit();
  bench::ignore_sigpipe();
  try {
    options.target = bench::parse_endpoint(target);
    bench::print(posts->parsed() ? bench::run_posts(options) : bench::run_streams(options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_client: %s\n", error.what());
    return 1;
  }
}
