// What: the exact bytes that backend and client agree on, so that the client can tell a damaged answer from a
// whole one. Threads: constants only. Ownership: constants only. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tidegate::bench {

// The plain answer: what an engine sends for a few tokens.
inline constexpr std::string_view kReply =
    R"({"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion","created":1750000000,)"
    R"("model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":)"
    R"("The tide comes in twice a day, and twice a day it leaves."},"logprobs":null,"finish_reason":"stop"}],)"
    R"("usage":{"prompt_tokens":211,"completion_tokens":16,"total_tokens":227}})";

// One event of a stream. The 16 zeros are replaced by the time of sending in hexadecimal nanoseconds.
inline constexpr std::string_view kEvent =
    R"(data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk",)"
    R"("created":1750000000,"model":"bench","choices":[{"index":0,"delta":{"content":" 0000000000000000"},)"
    R"("logprobs":null,"finish_reason":null}]})"
    "\n\n";
inline constexpr std::size_t kStampAt = kEvent.find(" 0000000000000000") + 1;
inline constexpr std::size_t kStampSize = 16;

inline constexpr std::string_view kDone = "data: [DONE]\n\n";

// Members of a request that tell the backend what to do; it looks for them in the body's first kBodyPrefix
// bytes.
inline constexpr std::string_view kStreamMember = R"("stream":true)";
inline constexpr std::string_view kChunksMember = R"("bench_chunks":)";
inline constexpr std::string_view kRateMember = R"("bench_rate":)";
inline constexpr std::string_view kDelayMember = R"("bench_delay_ms":)";
inline constexpr std::size_t kBodyPrefix = 512;

}  // namespace tidegate::bench
