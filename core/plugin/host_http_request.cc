#include "plugin/host_http_request.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <Poco/Net/IPAddress.h>
#include <Poco/URI.h>

#include "plugin/host.h"

namespace tidegate::plugin {
namespace {

constexpr std::uint32_t default_timeout_ms = 10'000;
constexpr std::uint64_t default_max_body = std::uint64_t{16} << 20;
constexpr std::size_t max_token_bytes = std::size_t{64} << 10;
constexpr std::size_t max_pem_bytes = std::size_t{8} << 20;
constexpr std::uint32_t max_headers = 100;

[[noreturn]] void invalid(const std::string& text) { throw HttpFailure(TG_E_INVALID, text); }

bool equal_names(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

bool is_token(std::string_view s) {
  const auto good = [](unsigned char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c));
  };
  return !s.empty() && std::all_of(s.begin(), s.end(), good);
}

// What may stand in a header's value: no line ends, no NUL, no other control but the tab.
bool is_value(std::string_view s) {
  return std::all_of(s.begin(), s.end(),
                     [](unsigned char c) { return c == '\t' || (c >= 0x20 && c != 0x7f); });
}

std::string read_file(const std::string& name, std::string_view path, std::size_t limit) {
  const std::string about = name + " '" + std::string(path) + "': ";
  const auto fail = [&](int code) {
    throw HttpFailure(TG_E_NOT_FOUND, about + "expected a file that can be read, found: " +
                                          std::strerror(code) + "; check the path and its permissions");
  };
  const int fd = ::open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(errno);
  std::string text(limit + 1, '\0');
  std::size_t used = 0;
  ssize_t n = 0;
  while (used < text.size() && (n = ::read(fd, text.data() + used, text.size() - used)) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    used += static_cast<std::size_t>(n);
  }
  const int code = errno;
  ::close(fd);
  if (n < 0) fail(code);
  if (used > limit)
    invalid(about + "expected at most " + std::to_string(limit) + " bytes, found more; name another file");
  std::string exact(text, 0, used);
  OPENSSL_cleanse(text.data(), used);  // it may be a key
  return exact;
}

// The value of a member that can be given as a file or as PEM text.
std::string pem_of(const std::string& name, tg_str file, tg_str pem) {
  if (file.len != 0 && pem.len != 0)
    invalid("expected one of " + name + "_file and " + name + "_pem, found both; leave one empty");
  return file.len != 0 ? read_file(name + "_file", view(file), max_pem_bytes) : std::string(view(pem));
}

void read_url(std::string_view url, HttpRequest& out) {
  const auto bad = [](const std::string& found) {
    invalid("url: expected http://host[:port]/path or https://host[:port]/path, found " + found +
            "; correct the url");
  };
  if (url.empty()) bad("none");
  if (!std::all_of(url.begin(), url.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; }))
    bad("a space, a control character or a byte above 0x7e");
  const std::size_t scheme_end = url.find("://");
  const std::string_view scheme = url.substr(0, scheme_end == url.npos ? 0 : scheme_end);
  out.secure = equal_names(scheme, "https");
  if (!out.secure && !equal_names(scheme, "http")) bad("another scheme or none");
  const std::size_t path = std::min(url.find_first_of("/?#", scheme_end + 3), url.size());
  const std::string_view authority = url.substr(scheme_end + 3, path - scheme_end - 3);
  if (authority.find('@') != authority.npos) bad("a user before the host (use a header or bearer_file)");
  try {
    const Poco::URI uri(std::string(url.substr(0, path)));
    out.host = uri.getHost();
    out.port = uri.getPort();
  } catch (const Poco::Exception&) {
    bad("'" + std::string(authority) + "' in place of host and port");
  }
  if (out.host.size() > 2 && out.host.front() == '[') out.host = out.host.substr(1, out.host.size() - 2);
  if (out.host.empty() || out.port == 0) bad("'" + std::string(authority) + "' in place of host and port");
  // The path stands as it was given: taking escapes off and putting them on again would change some.
  const std::string_view rest = url.substr(path, url.find('#', path) - path);
  out.target = rest.empty() || rest.front() != '/' ? "/" + std::string(rest) : std::string(rest);
  const std::string shown = out.host.find(':') != out.host.npos ? "[" + out.host + "]" : out.host;
  out.origin = std::string(out.secure ? "https://" : "http://") + shown + ":" + std::to_string(out.port);
  const bool usual_port = out.port == (out.secure ? 443 : 80);
  out.headers.emplace_back("Host", usual_port ? shown : shown + ":" + std::to_string(out.port));
}

void read_headers(const tg_http_call& call, HttpRequest& out) {
  if (call.header_count > max_headers || (call.header_count != 0 && !call.headers))
    invalid("headers: expected a list of at most " + std::to_string(max_headers) + ", found " +
            std::to_string(call.header_count) + (call.headers ? "" : " without a list") + "; send fewer");
  for (std::uint32_t i = 0; i < call.header_count; ++i) {
    const std::string name(view(call.headers[i].key)), value(view(call.headers[i].value));
    const std::string about = "header " + std::to_string(i + 1);
    if (!is_token(name))
      invalid(about +
              ": expected a name of letters, digits and -._~!#$%&'*+^`|, found another character "
              "or an empty name; correct the name");
    if (!is_value(value))
      invalid(about + " '" + name +
              "': expected a value without line ends and control characters, found one; "
              "take it out");
    for (const char* ours : {"Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect"})
      if (equal_names(name, ours))
        invalid(about + ": expected no " + ours + ", the host writes it itself; take it out");
    if (equal_names(name, "Authorization") && call.bearer_file.len != 0)
      invalid(about + ": expected one of Authorization and bearer_file, found both; leave one out");
    if (equal_names(name, "Host"))
      out.headers.front().second = value;
    else
      out.headers.emplace_back(name, value);
  }
}

// Read with every call, which costs less than its connection: so a rotated token is never missed, not even
// one written within the clock's grain of the old one.
SecretText read_bearer(tg_str file) {
  if (file.len == 0) return {};
  SecretText raw(read_file("bearer_file", view(file), max_token_bytes));
  std::string_view token = raw.text();
  constexpr std::string_view blank = " \t\r\n";
  token.remove_prefix(std::min(token.find_first_not_of(blank), token.size()));
  token = token.substr(0, token.find_last_not_of(blank) + 1);
  if (token.empty() || !std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; }))
    invalid("bearer_file '" + std::string(view(file)) +
            "': expected one token of printable characters, found " +
            (token.empty() ? "an empty file" : "blanks, line ends or other bytes in it") +
            "; write the token alone into the file");
  std::string value;
  value.reserve(7 + token.size());  // no growth, which would leave copies behind
  value.append("Bearer ").append(token);
  return SecretText(std::move(value));
}

void read_tls(const tg_http_call& call, HttpRequest& out) {
  TlsRequest& tls = out.tls;
  if (call.tls_verify == TG_TLS_NO_HOSTNAME || call.tls_verify == TG_TLS_OFF) tls.verify = call.tls_verify;
  tls.server_name = call.tls_server_name.len != 0 ? std::string(view(call.tls_server_name)) : out.host;
  if (!std::all_of(tls.server_name.begin(), tls.server_name.end(),
                   [](unsigned char c) { return c > 0x20 && c < 0x7f; }))
    invalid("tls_server_name: expected a host name, found a blank or another odd byte; correct it");
  if (!out.secure) return;
  if (call.ca_file.len != 0) tls.ca_pem.push_back(read_file("ca_file", view(call.ca_file), max_pem_bytes));
  if (call.ca_pem.len != 0) tls.ca_pem.emplace_back(view(call.ca_pem));
  tls.client_cert_pem = pem_of("client_cert", call.client_cert_file, call.client_cert_pem);
  tls.client_key_pem = SecretText(pem_of("client_key", call.client_key_file, call.client_key_pem));
  if (tls.client_cert_pem.empty() != tls.client_key_pem.empty())
    invalid(std::string("expected a client certificate with its key, found only the ") +
            (tls.client_key_pem.empty() ? "certificate" : "key") + "; give both or neither");
}

}  // namespace

SecretText::~SecretText() { OPENSSL_cleanse(text_.data(), text_.size()); }

HttpRequest read_request(const tg_http_call& call) {
  if (call.size < sizeof(tg_http_call))
    invalid("expected a tg_http_call with size " + std::to_string(sizeof(tg_http_call)) + ", found " +
            std::to_string(call.size) + "; start from zero and set size");
  HttpRequest out;
  read_url(view(call.url), out);
  out.method = call.method.len != 0 ? std::string(view(call.method)) : "GET";
  if (!is_token(out.method) || out.method == "CONNECT")
    invalid("method: expected an HTTP method such as GET or POST, found another text; correct it");
  read_headers(call, out);
  out.authorization = read_bearer(call.bearer_file);
  out.body = view(call.body);
  read_tls(call, out);
  out.timeout_ms = call.timeout_ms != 0 ? call.timeout_ms : default_timeout_ms;
  out.max_body = call.max_body != 0 ? call.max_body : default_max_body;
  return out;
}

}  // namespace tidegate::plugin
