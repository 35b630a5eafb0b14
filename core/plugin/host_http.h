// What: tg.host.http/1: one HTTP or HTTPS exchange on the calling thread, over Poco's HTTP client and TLS
//   contexts. One connection a call, so rotated tokens, CAs and certificates are picked up by the next call.
// Threads: [runner], many at once; the control thread is refused, it must not wait for a network.
// Ownership: nothing is kept between calls. Key material lives in memory only and is wiped.
// Errors: tg_status with text in tg_error; texts name scheme, host and port, never tokens, keys, path or
//   query. Nothing throws across, also when a callback does.
#pragma once

#include <tidegate/host.h>

namespace tidegate::plugin {

extern const tg_host_http http_service;

}  // namespace tidegate::plugin
