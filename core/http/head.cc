#include "http/head.h"

#include <boost/beast/http/basic_parser.hpp>
#include <limits>
#include <type_traits>

#include "http/head_rules.h"

namespace tidegate::http {

namespace {

namespace beast_http = boost::beast::http;
using boost::beast::string_view;
using head_rules::Refusal;

constexpr std::size_t npos = std::string_view::npos;

std::string_view view(string_view s) { return {s.data(), s.size()}; }

// Beast's parser does the walking over a head that is known to be whole; this class keeps what it finds and
// refuses what Beast would take. A refusal stops Beast by any error code; `refusal` has the reason.
template <class Head>
class Reader final : public beast_http::basic_parser<std::is_same_v<Head, RequestHead>> {
  using Base = beast_http::basic_parser<std::is_same_v<Head, RequestHead>>;
  using ErrorCode = boost::beast::error_code;

 public:
  Reader(Head& head, std::uint32_t max_fields) : head_(head), max_fields_(max_fields) {
    this->header_limit(std::numeric_limits<std::uint32_t>::max());  // ours was checked before
    // boost::none would refuse every length in 1.74: the comparison `len > none` is true.
    this->body_limit(std::numeric_limits<std::uint64_t>::max());
    if constexpr (std::is_same_v<Head, ResponseHead>) this->skip(true);
  }

  const Refusal* refusal = nullptr;

 private:
  void refuse(const Refusal* why, ErrorCode& ec) {
    if (why == nullptr) return;
    refusal = why;
    ec = beast_http::error::bad_field;
  }

  void on_request_impl(beast_http::verb, string_view method, string_view target, int version,
                       ErrorCode& ec) override {
    head_.version = static_cast<std::uint8_t>(version);
    if constexpr (std::is_same_v<Head, RequestHead>) {
      head_.method = view(method);
      head_.target = view(target);
    }
    ec = {};
  }

  void on_response_impl(int status, string_view reason, int version, ErrorCode& ec) override {
    head_.version = static_cast<std::uint8_t>(version);
    if constexpr (std::is_same_v<Head, ResponseHead>) {
      head_.status = static_cast<std::uint16_t>(status);
      head_.reason = view(reason);
    }
    ec = {};
  }

  void on_field_impl(beast_http::field id, string_view name, string_view raw, ErrorCode& ec) override {
    ec = {};
    const std::string_view value = view(raw);
    if (head_.fields.size() >= max_fields_) return refuse(&head_rules::too_many_fields, ec);
    if constexpr (std::is_same_v<Head, RequestHead>) {
      if (!head_rules::is_ascii(value)) return refuse(&head_rules::value_not_ascii, ec);
      if (id == beast_http::field::unknown && head_rules::is_disguised(view(name)))
        return refuse(&head_rules::disguised_field, ec);
    }
    head_.fields.push_back({view(name), value, static_cast<std::uint16_t>(id)});
    switch (id) {
      case beast_http::field::content_length: return refuse(content_length_field(value), ec);
      case beast_http::field::transfer_encoding: return refuse(transfer_encoding_field(value), ec);
      case beast_http::field::connection: return refuse(head_rules::split_connection(value, head_), ec);
      default: break;
    }
    if constexpr (std::is_same_v<Head, RequestHead>) {
      if (id == beast_http::field::host) return refuse(host_field(value), ec);
      if (id == beast_http::field::expect && iequals(value, "100-continue")) head_.expect_continue = true;
    }
  }

  const Refusal* content_length_field(std::string_view value) {
    if (head_.content_length) return &head_rules::length_repeated;
    if (head_.chunked) return &head_rules::both_lengths;
    head_.content_length = head_rules::parse_length(value);
    return head_.content_length ? nullptr : &head_rules::length_malformed;
  }

  const Refusal* transfer_encoding_field(std::string_view value) {
    if (head_.chunked) return &head_rules::coding_repeated;
    if (head_.content_length) return &head_rules::both_lengths;
    if (head_.version < 11) return &head_rules::coding_on_http10;
    if (!iequals(value, "chunked")) return &head_rules::coding_unknown;
    head_.chunked = true;
    return nullptr;
  }

  const Refusal* host_field(std::string_view value) {
    if (host_seen_) return &head_rules::host_repeated;
    host_seen_ = true;
    if (!head_rules::is_authority(value)) return &head_rules::host_malformed;
    if constexpr (std::is_same_v<Head, RequestHead>) head_.host = value;
    return nullptr;
  }

  void on_header_impl(ErrorCode& ec) override { ec = {}; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode& ec) override { ec = {}; }
  std::size_t on_body_impl(string_view, ErrorCode& ec) override { return ec = {}, 0; }
  void on_chunk_header_impl(std::uint64_t, string_view, ErrorCode& ec) override { ec = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view, ErrorCode& ec) override { return ec = {}, 0; }
  void on_finish_impl(ErrorCode& ec) override { ec = {}; }

  Head& head_;
  std::uint32_t max_fields_;
  bool host_seen_ = false;
};

// What Beast itself refused. Its two length errors can only be a conflict or a malformed value.
const Refusal* from_beast(const boost::beast::error_code& ec, const MessageHead& head, bool request) {
  switch (static_cast<beast_http::error>(ec.value())) {
    case beast_http::error::bad_method: return &head_rules::bad_method;
    case beast_http::error::bad_target: return &head_rules::bad_target;
    // A request's last word was seen to be a version: what Beast took for one is a part of a target with
    // blanks.
    case beast_http::error::bad_version: return request ? &head_rules::bad_target : &head_rules::bad_version;
    case beast_http::error::bad_status: return &head_rules::bad_status;
    case beast_http::error::bad_reason: return &head_rules::bad_reason;
    case beast_http::error::bad_value: return &head_rules::bad_value;
    case beast_http::error::bad_line_ending: return &head_rules::bare_cr;
    case beast_http::error::bad_content_length:
      if (head.chunked) return &head_rules::both_lengths;
      return head.content_length ? &head_rules::length_repeated : &head_rules::length_malformed;
    case beast_http::error::bad_transfer_encoding:
      return head.chunked ? &head_rules::coding_repeated : &head_rules::both_lengths;
    default: return &head_rules::bad_field;
  }
}

bool wants_keep_alive(const MessageHead& head) {
  bool keep = head.version >= 11;
  for (std::string_view name : head.connection_names) {
    if (iequals(name, "close")) return false;
    if (iequals(name, "keep-alive")) keep = true;
  }
  return keep;
}

const Refusal* finish(RequestHead& head) {
  head.keep_alive = wants_keep_alive(head);
  if (head.host.empty() && head.version >= 11) return &head_rules::host_missing;
  if (head.version < 11) head.expect_continue = false;  // RFC 9110 10.1.1
  return head_rules::check_target(head);
}

const Refusal* finish(ResponseHead& head) {
  if (head.status < 100 || head.status > 599) return &head_rules::bad_status;
  head.keep_alive = wants_keep_alive(head);
  const bool no_content = head.status < 200 || head.status == 204;
  // Such a response has no body whatever it says; what it announces may come all the same, so it ends its
  // connection.
  if (no_content && (head.chunked || head.content_length.value_or(0) > 0)) head.keep_alive = false;
  if (!no_content && head.status != 304 && !head.chunked && !head.content_length) head.keep_alive = false;
  return nullptr;
}

ParseResult refused(const Refusal& why) {
  return {ParseResult::State::error, why.status, 0, why.code, why.message};
}

ParseResult need_more() { return {}; }

template <class Head>
ParseResult read_whole(std::span<const char> whole, std::size_t start, const HeadLimits& limits, Head& out) {
  Reader<Head> reader(out, limits.fields);
  boost::beast::error_code ec;
  const std::size_t used = reader.put({whole.data() + start, whole.size() - start}, ec);
  if (reader.refusal != nullptr) return refused(*reader.refusal);
  if (ec) return refused(*from_beast(ec, out, std::is_same_v<Head, RequestHead>));
  if (used != whole.size() - start) return refused(head_rules::bad_field);
  if (const Refusal* why = finish(out)) return refused(*why);
  return {ParseResult::State::done, 0, whole.size(), {}, {}};
}

// The end of the head in `head` (bytes behind tolerated empty lines), or npos; `from` is where nobody has
// looked yet. Looks at every line end on the way, so that what Beast takes or waits for is refused as soon as
// it is there.
template <class Head>
std::size_t find_end(std::string_view head, std::size_t from, bool& first_line_checked, const Refusal*& why) {
  while (from < head.size()) {
    // A line end that was the last byte of the last look may be followed by a fold now.
    if (from > 0 && head[from - 1] == '\n' && (head[from] == ' ' || head[from] == '\t')) {
      why = &head_rules::folded;
      return npos;
    }
    const std::size_t lf = head.find('\n', from);
    if (lf == npos) return npos;
    if (lf == 0 || head[lf - 1] != '\r') {
      why = &head_rules::bare_lf;
      return npos;
    }
    if (lf >= 3 && head[lf - 2] == '\n') return lf + 1;
    // A request without version, or of another protocol, may never send an empty line.
    if (std::is_same_v<Head, RequestHead> && !first_line_checked) {
      why = head_rules::check_request_line(head.substr(0, lf - 1));
      if (why != nullptr) return npos;
    }
    first_line_checked = true;
    from = lf + 1;
  }
  return npos;
}

template <class Head>
std::size_t skip_empty_lines(std::string_view data) {
  std::size_t start = 0;
  if constexpr (std::is_same_v<Head, RequestHead>) {
    constexpr std::size_t most = 2 * HeadParser<Head>::tolerated_empty_lines;
    while (start < most && data.substr(start).starts_with("\r\n")) start += 2;
  }
  return start;
}

}  // namespace

template <class Head>
ParseResult HeadParser<Head>::parse(std::span<const char> data, Head& out) {
  const std::string_view all(data.data(), data.size());
  const std::size_t start = skip_empty_lines<Head>(all);
  const std::string_view head = all.substr(start);
  if (head.empty() || head == "\r") return need_more();
  if (seen_ <= start) {
    seen_ = start;
    if (!head_rules::is_token_char(head.front())) {
      reset();
      const bool line_end = head.front() == '\r' || head.front() == '\n';
      return refused(line_end ? head_rules::empty_lines : head_rules::bad_start);
    }
  }
  const Refusal* why = nullptr;
  const std::size_t end = find_end<Head>(head, seen_ - start, first_line_checked_, why);
  if (why == nullptr && (end == npos ? head.size() : end) > limits_.bytes) why = &head_rules::head_too_large;
  if (why == nullptr && end == npos) {
    seen_ = all.size();
    return need_more();
  }
  reset();
  if (why != nullptr) return refused(*why);
  out.clear();
  return read_whole(data.first(start + end), start, limits_, out);
}

template class HeadParser<RequestHead>;
template class HeadParser<ResponseHead>;

const HeaderField* MessageHead::find(std::string_view name) const noexcept {
  for (const HeaderField& field : fields) {
    if (iequals(field.name, name)) return &field;
  }
  return nullptr;
}

std::string_view MessageHead::value(std::string_view name) const noexcept {
  const HeaderField* field = find(name);
  return field != nullptr ? field->value : std::string_view{};
}

namespace {
void clear_common(MessageHead& head) noexcept {
  head.version = 11;
  head.chunked = head.keep_alive = false;
  head.content_length.reset();
  head.fields.clear();
  head.connection_names.clear();
}
}  // namespace

void RequestHead::clear() noexcept {
  clear_common(*this);
  method = target = path = query = host = {};
  expect_continue = false;
}

void ResponseHead::clear() noexcept {
  clear_common(*this);
  status = 0;
  reason = {};
}

BodyKind response_body_kind(const ResponseHead& head, bool request_was_head) noexcept {
  if (request_was_head || head.status < 200 || head.status == 204 || head.status == 304)
    return BodyKind::none;
  if (head.chunked) return BodyKind::chunked;
  return head.content_length ? BodyKind::length : BodyKind::until_close;
}

}  // namespace tidegate::http
