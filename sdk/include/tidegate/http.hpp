// tidegate/http.hpp - HTTP by the host, for run() of a discovery source.
//
// What      tg::Http(host).call(...) for one reply, stream(...) for a watch. TLS and tokens are the host's
//           business.
// Threads   [runner]; blocks until done, or until the stop token ends it (TG_E_CANCELLED).
// Ownership The reply is the caller's. on_head and on_data borrow what they get.
// Errors    tg::Error, also for a host without tg.host.http/1. An exception of on_head or on_data ends the
//           stream and comes out of stream() again.
#pragma once
#include <vector>

#include "host.hpp"

namespace tg {

struct HttpReply {
  uint32_t status = 0;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

class Http {
 public:
  explicit Http(const Host& host) : host_(host.get()), table_(host.find<tg_host_http>(TG_HOST_HTTP)) {
    if (!table_) throw Error(TG_E_UNSUPPORTED, "", "this host offers no HTTP client (tg.host.http/1)");
  }
  // `call`: start from tg_http_call{} and set what you need; its size is set here.
  HttpReply call(tg_http_call call, Stop stop) const {
    Taken taken;
    auto error = detail::sized<tg_error>();
    call.size = sizeof call;
    tg_status status = table_->call(host_, &call, stop.get(), &Taken::on_reply, &taken, &error);
    if (taken.thrown) std::rethrow_exception(taken.thrown);
    detail::check(status, error, "the HTTP call");
    return std::move(taken.reply);
  }
  // on_head(uint32_t http_status) and on_data(std::string_view) return false to end the stream.
  template <class Head, class Data>
  void stream(tg_http_call call, Stop stop, Head on_head, Data on_data) const {
    Streamed<Head, Data> s{on_head, on_data, nullptr};
    auto error = detail::sized<tg_error>();
    call.size = sizeof call;
    tg_status status = table_->stream(host_, &call, stop.get(), &s.head, &s.data, &s, &error);
    if (s.thrown) std::rethrow_exception(s.thrown);
    detail::check(status, error, "the HTTP stream");
  }

 private:
  struct Taken {
    HttpReply reply;
    std::exception_ptr thrown;
    static void on_reply(void* self, const tg_http_reply* from) noexcept {
      auto* taken = static_cast<Taken*>(self);
      try {
        taken->reply.status = from->status;
        taken->reply.body = view(from->body);
        for (uint32_t i = 0; i < from->header_count; ++i)
          taken->reply.headers.emplace_back(view(from->headers[i].key), view(from->headers[i].value));
      } catch (...) {
        taken->thrown = std::current_exception();
      }
    }
  };
  template <class Head, class Data>
  struct Streamed {
    Head& on_head;
    Data& on_data;
    std::exception_ptr thrown;
    static bool head(void* self, const tg_http_reply* reply) noexcept {
      auto* s = static_cast<Streamed*>(self);
      return s->guarded([&] { return s->on_head(reply->status); });
    }
    static bool data(void* self, tg_str bytes) noexcept {
      auto* s = static_cast<Streamed*>(self);
      return s->guarded([&] { return s->on_data(view(bytes)); });
    }
    template <class F>
    bool guarded(F f) noexcept {
      try {
        return f();
      } catch (...) {
        thrown = std::current_exception();
        return false;
      }
    }
  };
  const tg_host* host_;
  const tg_host_http* table_;
};

}  // namespace tg
