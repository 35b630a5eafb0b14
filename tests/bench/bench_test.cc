#include <doctest/doctest.h>

#include <string>

#include "histogram.h"
#include "http_response.h"

namespace tidegate::bench {
namespace {

// The body as read when the text comes in two pieces, cut at `cut`.
std::string read_in_two(ResponseReader& reader, std::string_view text, std::size_t cut) {
  std::string body;
  reader.restart();
  reader.feed(text.substr(0, cut), [&](std::string_view piece) { body += piece; });
  reader.feed(text.substr(cut), [&](std::string_view piece) { body += piece; });
  return body;
}

TEST_CASE("a response reads the same wherever it is cut") {
  const std::string_view chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: "
      "1\r\n\r\n";
  const std::string_view length = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";
  ResponseReader reader;
  for (const std::string_view text : {chunked, length}) {
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      CAPTURE(cut);
      CHECK(read_in_two(reader, text, cut) == "hello world");
      CHECK(reader.done());
      CHECK(reader.error() == "");
      CHECK(reader.body_bytes() == 11);
    }
  }
}

TEST_CASE("a response that is not whole is not done") {
  const std::string_view text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
  ResponseReader reader;
  read_in_two(reader, text, 0);
  CHECK_FALSE(reader.done());
}

TEST_CASE("bytes after a response's end are an error") {
  ResponseReader reader;
  read_in_two(reader, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokk", 0);
  CHECK(reader.error() == "bytes after the end of the response");
}

TEST_CASE("a chunk that is longer than its size is an error") {
  ResponseReader reader;
  read_in_two(reader, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n", 0);
  CHECK(reader.error() == "chunk longer than its size");
}

TEST_CASE("quantiles are within two per cent at every magnitude") {
  for (const std::uint64_t scale : {1ULL, 100ULL, 10'000ULL, 1'000'000ULL, 1'000'000'000ULL}) {
    CAPTURE(scale);
    Histogram histogram;
    for (std::uint64_t i = 1; i <= 1000; ++i) histogram.record(i * scale);
    CHECK(static_cast<double>(histogram.quantile(0.5)) == doctest::Approx(500.0 * scale).epsilon(0.02));
    CHECK(static_cast<double>(histogram.quantile(0.99)) == doctest::Approx(990.0 * scale).epsilon(0.02));
    CHECK(histogram.quantile(1.0) == 1000 * scale);
  }
}

}  // namespace
}  // namespace tidegate::bench
