#include "engine/engine_metrics.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <numeric>
#include <utility>

#include "engine/text.h"

namespace tidegate::engine {

namespace {

constexpr std::array<double, 15> long_times = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                               0.25,  0.5,   1,    2.5,  5,    10,   30};
constexpr std::array<double, 12> short_times = {0.001, 0.002, 0.005, 0.01, 0.015, 0.025,
                                                0.05,  0.075, 0.1,   0.25, 0.5,   1};

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

// Writes the families of one engine; every sample carries the engine's own labels.
class Page {
 public:
  Page(std::string_view prefix, std::string labels) : prefix_(prefix), labels_(std::move(labels)) {}

  void gauge(std::string_view name, double value) { sample(name, "gauge", "", value); }
  void counter(std::string_view name, std::uint64_t value, std::string_view extra = "") {
    sample(name, "counter", extra, static_cast<double>(value));
  }
  // One family with several samples, each of its own labels.
  void counters(std::string_view name,
                std::initializer_list<std::pair<std::string_view, std::uint64_t>> samples) {
    const std::string full = family(name, "counter");
    for (const auto& [extra, value] : samples) line(full, extra, static_cast<double>(value));
  }
  void info(std::string_view name, std::string_view extra) { sample(name, "gauge", extra, 1); }
  void histogram(std::string_view name, const TimeHistogram& histogram) {
    const std::string full = family(name, "histogram");
    histogram.append(text_, full, labels_);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string family(std::string_view name, std::string_view type) {
    std::string full = prefix_ + std::string(name);
    text_.append("# HELP ").append(full).append(" Simulated engine.\n# TYPE ").append(full).append(" ");
    text_.append(type).append("\n");
    return full;
  }
  void sample(std::string_view name, std::string_view type, std::string_view extra, double value) {
    line(family(name, type), extra, value);
  }
  void line(const std::string& full, std::string_view extra, double value) {
    text_.append(full).append("{").append(labels_);
    if (!extra.empty()) text_.append(",").append(extra);
    text_.append("} ").append(number(value)).append("\n");
  }

  std::string prefix_, labels_, text_;
};

double ratio(std::uint64_t part, std::uint64_t of) {
  return of == 0 ? 0 : static_cast<double>(part) / static_cast<double>(of);
}

std::string quoted(std::uint64_t value) { return "\"" + std::to_string(value) + "\""; }

void sglang(Page& page, const EngineModel& model, const EngineCounters& counters) {
  const ModelCounters& work = model.counters();
  const ModelConfig& config = model.config();
  page.gauge("num_running_reqs", static_cast<double>(model.running()));
  page.gauge("num_queue_reqs", static_cast<double>(model.waiting()));
  page.gauge("num_used_tokens", static_cast<double>(model.context_tokens()));
  page.gauge("max_total_num_tokens", static_cast<double>(model.capacity_tokens()));
  page.gauge("gen_throughput", model.output_rate());
  page.gauge("token_usage", model.token_usage());
  page.gauge("cache_hit_rate", ratio(work.cached_tokens, work.prompt_tokens));
  page.gauge("num_retracted_reqs", 0);
  page.gauge("num_prefill_prealloc_queue_reqs", 0);
  page.gauge("num_decode_prealloc_queue_reqs", 0);
  page.info("cache_config_info", "page_size=" + quoted(config.block_tokens) +
                                     ",num_pages=" + quoted(config.cache_tokens / config.block_tokens));
  page.counter("prompt_tokens_total", work.prompt_tokens);
  page.counter("generation_tokens_total", work.output_tokens);
  page.counter("cached_tokens_total", work.cached_tokens);
  page.counter("num_requests_total", counters.generations);
  page.counter("num_aborted_requests_total", counters.aborted);
  page.histogram("time_to_first_token_seconds", counters.first_token);
  page.histogram("inter_token_latency_seconds", counters.between_tokens);
  page.histogram("e2e_request_latency_seconds", counters.whole);
}

void vllm(Page& page, const EngineModel& model, const EngineCounters& counters) {
  const ModelCounters& work = model.counters();
  const ModelConfig& config = model.config();
  page.gauge("num_requests_running", static_cast<double>(model.running()));
  page.gauge("num_requests_waiting", static_cast<double>(model.waiting()));
  page.gauge("kv_cache_usage_perc", model.token_usage());
  page.gauge("gpu_cache_usage_perc", model.token_usage());  // its name before 0.10
  page.info("cache_config_info", "block_size=" + quoted(config.block_tokens) +
                                     ",num_gpu_blocks=" + quoted(config.cache_tokens / config.block_tokens));
  page.counter("prefix_cache_queries_total", work.prompt_tokens);
  page.counter("prefix_cache_hits_total", work.cached_tokens);
  page.counter("gpu_prefix_cache_queries_total", work.prompt_tokens);  // likewise
  page.counter("gpu_prefix_cache_hits_total", work.cached_tokens);
  page.counter("num_preemptions_total", 0);
  page.counter("prompt_tokens_total", work.prompt_tokens);
  page.counter("generation_tokens_total", work.output_tokens);
  page.counters("request_success_total", {{"finished_reason=\"stop\"", counters.completed - counters.cut},
                                          {"finished_reason=\"length\"", counters.cut}});
  page.histogram("time_to_first_token_seconds", counters.first_token);
  page.histogram("time_per_output_token_seconds", counters.between_tokens);  // its name before 0.11
  page.histogram("inter_token_latency_seconds", counters.between_tokens);
  page.histogram("e2e_request_latency_seconds", counters.whole);
}

}  // namespace

void TimeHistogram::observe(double seconds) {
  const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), seconds) - bounds_.begin();
  ++counts_[static_cast<std::size_t>(at)];
  sum_ += seconds;
}

void TimeHistogram::append(std::string& out, std::string_view name, std::string_view labels) const {
  std::uint64_t below = 0;
  const auto line = [&](std::string_view suffix, std::string_view extra, const std::string& value) {
    out.append(name).append(suffix).append("{").append(labels).append(extra).append("} ");
    out.append(value).append("\n");
  };
  for (std::size_t i = 0; i < bounds_.size(); ++i) {
    below += counts_[i];
    line("_bucket", ",le=\"" + number(bounds_[i]) + "\"", std::to_string(below));
  }
  const std::uint64_t all = below + counts_.back();
  line("_bucket", ",le=\"+Inf\"", std::to_string(all));
  line("_sum", "", number(sum_));
  line("_count", "", std::to_string(all));
}

EngineCounters::EngineCounters() : first_token(long_times), between_tokens(short_times), whole(long_times) {}

std::string metrics_text(const EngineOptions& options, const EngineModel& model,
                         const EngineCounters& counters) {
  std::string labels = "model_name=" + json_string(options.models.front());
  if (options.flavor == Flavor::vllm) labels = "engine=\"0\"," + labels;
  Page page(options.flavor == Flavor::sglang ? "sglang:" : "vllm:", labels);
  if (options.flavor == Flavor::sglang) {
    sglang(page, model, counters);
  } else {
    vllm(page, model, counters);
  }
  return page.take();
}

}  // namespace tidegate::engine
