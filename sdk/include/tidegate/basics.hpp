// tidegate/basics.hpp - the small things under the C++ layer: text, errors, output, stop tokens.
//
// What      Thin, header-only wrappers over the C ABI (plugin.h). C++20. Nothing here allocates but Error.
// Threads   As the wrapped C function says.
// Ownership Wrappers borrow: an Out, a Stop or a view() lives as long as the call that gave it.
// Errors    Control functions of a plugin throw, best a tg::Error; guard() makes a tg_error of it.
#pragma once
#if __cplusplus < 202002L
#  error "the C++ layer of the Tidegate SDK needs C++20; plugin.h is for C and older C++"
#endif
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "plugin.h"

// What a plugin instantiates must not meet its namesake in another plugin.
#define TG_HIDDEN [[gnu::visibility("hidden")]]

namespace tg {

constexpr std::string_view view(tg_str s) noexcept {
  return s.len == 0 ? std::string_view() : std::string_view(s.ptr, s.len);
}
constexpr tg_str str(std::string_view s) noexcept { return {s.data(), s.size()}; }
constexpr tg_kv kv(std::string_view key, std::string_view value) noexcept { return {str(key), str(value)}; }
using Fields = std::initializer_list<tg_kv>;

// Why a control function failed. where: a JSON pointer into the configuration ("/threshold"), or empty.
// text: what was expected, what was found, what to do.
class Error : public std::exception {
 public:
  Error(tg_status code, std::string where, std::string text)
      : code_(code == TG_OK ? TG_E_INTERNAL : code), where_(std::move(where)), text_(std::move(text)) {}
  tg_status code() const noexcept { return code_; }
  const std::string& where() const noexcept { return where_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  tg_status code_;
  std::string where_, text_;
};

// Where output of unknown length goes (describe, export_state).
class Out {
 public:
  explicit Out(tg_out* out) noexcept : out_(out) {}
  void write(std::string_view text) const noexcept { out_->write(out_, str(text)); }

 private:
  tg_out* out_;
};

// Asked by run() whether it should end.
class Stop {
 public:
  explicit Stop(const tg_stop* stop) noexcept : stop_(stop) {}
  bool requested() const noexcept { return stop_->requested(stop_); }
  // Sleeps up to `time`; true as soon as stop is wanted. Stop::wait() without a time sleeps until then.
  bool wait(std::chrono::milliseconds time) const noexcept {
    return stop_->wait_ms(stop_, static_cast<uint32_t>(time.count() < 0            ? 0
                                                       : time.count() > 0x7fffffff ? 0x7fffffff
                                                                                   : time.count()));
  }
  void wait() const noexcept {
    while (!wait(std::chrono::hours(1))) {
    }
  }
  const tg_stop* get() const noexcept { return stop_; }

 private:
  const tg_stop* stop_;
};

namespace TG_HIDDEN detail {

// A zeroed struct that knows its size.
template <class T>
constexpr T sized() noexcept {
  T value{};
  value.size = sizeof(T);
  return value;
}

inline void copy_text(char* to, size_t room, std::string_view text) noexcept {
  if (text.size() >= room) text = text.substr(0, room - 1);
  if (!text.empty()) std::memcpy(to, text.data(), text.size());
  to[text.size()] = 0;
}

inline tg_status fail(tg_error* error, tg_status code, std::string_view where,
                      std::string_view text) noexcept {
  if (error) {
    error->code = code;
    copy_text(error->where, sizeof error->where, where);
    copy_text(error->text, sizeof error->text, text);
  }
  return code;
}

// Runs f(); every exception becomes a status and a filled *error (may be null).
template <class F>
tg_status guard(tg_error* error, F&& f) noexcept {
  try {
    f();
    return TG_OK;
  } catch (const Error& e) {
    return fail(error, e.code(), e.where(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(error, TG_E_LIMIT, "", "out of memory");
  } catch (const std::exception& e) {
    return fail(error, TG_E_INTERNAL, "", e.what());
  } catch (...) {
    return fail(error, TG_E_INTERNAL, "", "an exception that is not a std::exception; throw tg::Error");
  }
}

// Throws what a host call reported.
inline void check(tg_status status, const tg_error& error, const char* what) {
  if (status == TG_OK) return;
  throw Error(status, error.where,
              error.text[0] ? error.text : std::string(what) + " failed without a reason");
}

}  // namespace detail
}  // namespace tg
