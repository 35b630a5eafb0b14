// What: takes HTTP/1.1 chunked framing off a body, byte-strict and incremental, and writes chunk heads.
// Threads: none; a decoder belongs to one connection's thread.
// Ownership: keeps no bytes. Spans it returns point into the input of that very call.
// Errors: never throws; after an error every further call gives the same error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "http/head.h"

namespace tidegate::http {

// Loop: step = decoder.next(in); in = in.subspan(step.consumed); until need_more (all input is eaten), done
// or error.
//   data     payload bytes, handed out as soon as they are there (the CRLF behind a chunk may come later)
//   trailer  raw bytes of the trailer section, already checked; collect them if trailers are to be passed,
//   and give
//            the whole section to parse_trailers(). Total size is bounded by max_trailer_bytes.
//   done     the final CRLF is eaten; bytes behind `consumed` belong to the next message
class ChunkedDecoder {
 public:
  static constexpr std::size_t max_extension_bytes = 256;  // of one chunk, with its ';'
  static constexpr std::size_t max_trailer_bytes = 8 * 1024;

  enum class Event : std::uint8_t { need_more, data, trailer, done, error };
  struct Step {
    Event event;
    std::size_t consumed;
    std::span<const char> data;
  };

  Step next(std::span<const char> in) noexcept;
  void reset() noexcept { *this = ChunkedDecoder(); }

  bool done() const noexcept { return state_ == State::done; }
  std::uint64_t chunk_remaining() const noexcept { return remaining_; }  // bytes to come of the open chunk
  std::string_view error() const noexcept;  // static text; empty if nothing is wrong

 private:
  enum class State : std::uint8_t {
    size_first,
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    line_start,
    name,
    value,
    value_lf,
    final_lf,
    done,
    failed
  };
  enum class Fault : std::uint8_t {
    none,
    bad_size,
    size_too_long,
    bad_extension,
    extension_too_long,
    bad_line_end,
    bad_data_end,
    bad_trailer,
    trailer_too_long
  };
  Fault step(unsigned char c) noexcept;  // one byte of framing
  Fault step_size_line(unsigned char c) noexcept;
  Fault step_trailer(unsigned char c) noexcept;

  std::uint64_t remaining_ = 0;
  std::uint16_t counted_ = 0;  // bytes so far of this extension, or of the trailer section
  std::uint8_t digits_ = 0;
  State state_ = State::size_first;
  Fault fault_ = Fault::none;
};
static_assert(sizeof(ChunkedDecoder) <= 24);

// Splits a collected trailer section ("Name: value\r\n" lines, the empty line may follow) into `out`,
// appending. Fields that must not come in trailers (framing, routing, authentication, ...) are dropped (RFC
// 9110 6.5.1). False if the section is malformed, or has bytes above 0x7f and `obs_text` is not granted.
bool parse_trailers(std::string_view section, std::vector<HeaderField>& out, bool obs_text = false);
bool forbidden_in_trailer(std::string_view name) noexcept;

// Writes "<hex>\r\n" for a chunk of `size` > 0 bytes; `out` has room for 18. Returns the length. The payload
// and chunk_end follow; last_chunk closes a body without trailers.
std::size_t write_chunk_head(char* out, std::uint64_t size) noexcept;
inline constexpr std::string_view chunk_end = "\r\n";
inline constexpr std::string_view last_chunk = "0\r\n\r\n";

}  // namespace tidegate::http
