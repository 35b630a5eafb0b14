#include "telemetry/access_log.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "telemetry/json_line.h"
#include "telemetry/line_writer.h"

namespace tidegate::telemetry {
namespace {

size_t tell_lost(char* out, size_t size, uint64_t lost) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  char time[24];
  const auto ms = static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
  JsonLine line(out, size);
  line.text("time", {time, format_time(time, ms)});
  line.integer("dropped", static_cast<int64_t>(lost));
  return line.finish();
}

LineWriter::Options writer_options(const AccessLogOptions& options) {
  LineWriter::Options out{.lines = options.lines,
                          .line_bytes = options.line_bytes < 512 ? 512 : options.line_bytes,
                          .gather_ms = options.gather_ms,
                          .tell_lost = tell_lost};
  if (options.path == "-") {
    out.fd = 1;
  } else if (options.path == "stderr") {  // not /dev/stderr: it can't be opened when it is a socket
    out.fd = 2;
  } else {
    out.path = options.path;
  }
  return out;
}

void text_unless_empty(JsonLine& line, std::string_view key, std::string_view value, size_t most) noexcept {
  if (!value.empty()) line.text(key, value, most);
}

void add_legs(JsonLine& line, std::span<const AccessLeg> legs) noexcept {
  if (legs.empty() || !line.begin_array("workers")) return;
  uint32_t shown = 0;
  for (const AccessLeg& leg : legs) {
    line.begin_object();
    line.text("worker", leg.worker, 96);
    line.text("outcome", leg.outcome, 24);
    if (leg.status > 0) line.integer("status", leg.status);
    if (!line.end_object()) break;
    ++shown;
  }
  line.end_array();
  if (shown < legs.size()) line.integer("workers_left_out", static_cast<int64_t>(legs.size() - shown));
}

}  // namespace

std::string access_log_problem(const std::string& path) {
  if (path == "-" || path == "stderr") return {};
  struct stat state {};
  if (::stat(path.c_str(), &state) == 0) {
    if (S_ISDIR(state.st_mode)) return "'" + path + "' is a directory; expected a file";
    if (::access(path.c_str(), W_OK) == 0) return {};
    return "cannot open '" + path + "' for appending: " + std::strerror(errno);
  }
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return {};
  return "cannot make '" + path + "': " + std::strerror(errno) + "; make its directory, or choose another";
}

// Numbers first and long texts last: what a full line loses is the end of a path or a leg, never the status.
// With every text at its limit and legs left out, a line takes less than 1024 bytes.
size_t format_access(const AccessRecord& record, char* out, size_t size) noexcept {
  JsonLine line(out, size);
  char time[24];
  line.text("time", {time, format_time(time, record.unix_ms)});
  line.text("request_id", record.request_id, 64);
  line.integer("status", record.status);
  text_unless_empty(line, "error", record.error, 48);
  line.boolean("stream", record.stream);
  line.integer("attempts", record.attempts);
  if (record.prompt_tokens >= 0) line.integer("prompt_tokens", record.prompt_tokens);
  if (record.cached_tokens >= 0) line.integer("cached_tokens", record.cached_tokens);
  if (record.output_tokens >= 0) line.integer("output_tokens", record.output_tokens);
  if (record.ttft_us >= 0) line.number("ttft_ms", static_cast<double>(record.ttft_us) / 1000);
  line.number("total_ms", static_cast<double>(record.total_us) / 1000);
  if (record.overhead_us >= 0) line.integer("overhead_us", record.overhead_us);
  line.integer("bytes_in", static_cast<int64_t>(record.bytes_in));
  line.integer("bytes_out", static_cast<int64_t>(record.bytes_out));
  line.text("client", record.client, 48);
  line.text("method", record.method, 16);
  text_unless_empty(line, "route", record.route, 64);
  text_unless_empty(line, "policy", record.policy, 64);
  text_unless_empty(line, "model", record.model, 96);
  line.text("path", record.path, 128);
  add_legs(line, record.legs);
  return line.finish();
}

struct AccessLog::Impl {
  explicit Impl(const AccessLogOptions& options) : writer(writer_options(options)) {}
  LineWriter writer;
};

AccessLog::AccessLog(const AccessLogOptions& options) : impl_(std::make_unique<Impl>(options)) {}
AccessLog::~AccessLog() = default;

void AccessLog::write(const AccessRecord& record) noexcept {
  LineRing& ring = impl_->writer.ring();
  LineRing::Slot* slot = ring.claim();
  if (slot == nullptr) return;
  slot->length = static_cast<uint32_t>(format_access(record, slot->text, ring.line_bytes()));
  ring.publish(slot);
}

void AccessLog::reopen() noexcept { impl_->writer.reopen(); }
uint64_t AccessLog::dropped() const noexcept { return impl_->writer.ring().dropped(); }
uint64_t AccessLog::failed() const noexcept { return impl_->writer.failed(); }
uint64_t AccessLog::written() const noexcept { return impl_->writer.written(); }

}  // namespace tidegate::telemetry
