#include <cstdlib>

#include <doctest/doctest.h>

#include "plugin/host_http_test_support.h"

namespace tidegate::plugin {
namespace {

using testing::file_text;
using testing::HttpClient;
using testing::HttpResult;
using testing::Peer;
using testing::reply_of;
using testing::Server;
using testing::StopAtAsk;

// ca and other: two CAs. server: for gateway.test, by ca. address: for 127.0.0.1, by ca. client: by ca.
struct Certificates {
  testing::PluginDir dir;
  bool made = false;
  Certificates() {
    const std::string key =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 ";
    const auto make = [&](const std::string& name, const std::string& more) {
      const std::string command = key + "-keyout " + at(name + ".key") + " -out " + at(name + ".pem") +
                                  " -subj /CN=" + name + " " + more + " >/dev/null 2>&1";
      return std::system(command.c_str()) == 0;
    };
    const std::string by_ca = " -CA " + at("ca.pem") + " -CAkey " + at("ca.key") +
                              " -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=";
    made = std::system("openssl version >/dev/null 2>&1") == 0 && make("ca", "") && make("other", "") &&
           make("server", by_ca + "DNS:gateway.test") && make("address", by_ca + "IP:127.0.0.1") &&
           make("client", by_ca + "DNS:client.test");
  }
  std::string at(const std::string& file) const { return dir.path() + "/" + file; }
};
const Certificates& certificates() {
  static const Certificates made;
  return made;
}
std::string at(const std::string& file) { return certificates().at(file); }

struct TlsContext {
  SSL_CTX* it = SSL_CTX_new(TLS_server_method());
  explicit TlsContext(const std::string& name, bool wants_client = false) {
    SSL_CTX_use_certificate_file(it, at(name + ".pem").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(it, at(name + ".key").c_str(), SSL_FILETYPE_PEM);
    if (!wants_client) return;
    SSL_CTX_load_verify_file(it, at("ca.pem").c_str());
    SSL_CTX_set_verify(it, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  ~TlsContext() { SSL_CTX_free(it); }
};

// A TLS server that answers "safe", and a call to it; each test changes one thing.
struct TlsFixture : HttpClient {
  const bool able = certificates().made;
  std::string name_seen;
  std::unique_ptr<TlsContext> context;
  std::unique_ptr<Server> server;
  std::string url, ca = at("ca.pem"), other = at("other.pem");
  tg_http_call c{};
  bool start(const std::string& name, bool wants_client = false) {
    if (!able) {
      MESSAGE("skipped: the openssl tool is missing or failed");
      return false;
    }
    context = std::make_unique<TlsContext>(name, wants_client);
    server = std::make_unique<Server>(
        [this](Peer& p) { p.head(), name_seen = p.server_name(), p.send(reply_of("safe")); }, context->it);
    url = server->url();
    c = to(url);
    c.ca_file = to_str(ca);
    c.tls_server_name = tg_cstr("gateway.test");
    return true;
  }
};

TEST_CASE_FIXTURE(TlsFixture, "a server with the right name and CA is believed, and told the name") {
  if (!start("server")) return;
  const HttpResult r = call(c);
  CHECK(r.text == "");
  CHECK(r.body == "safe");
  CHECK(name_seen == "gateway.test");
}

TEST_CASE_FIXTURE(TlsFixture, "the CA can be given as PEM text") {
  if (!start("server")) return;
  const std::string pem = file_text(ca);
  c.ca_file = {};
  c.ca_pem = to_str(pem);
  CHECK(call(c).body == "safe");
}

TEST_CASE_FIXTURE(TlsFixture, "an address in the url is checked as an address and sent as no name") {
  if (!start("address")) return;
  c.tls_server_name = {};
  CHECK(call(c).body == "safe");
  CHECK(name_seen == "");
}

TEST_CASE_FIXTURE(TlsFixture, "a server of another CA is refused: the chain") {
  if (!start("server")) return;
  c.ca_file = to_str(other);
  for (const std::uint32_t verify : {std::uint32_t{TG_TLS_STRICT}, std::uint32_t{TG_TLS_NO_HOSTNAME}}) {
    c.tls_verify = verify;
    const HttpResult r = call(c);
    CHECK(r.status == TG_E_UNAVAILABLE);
    CHECK(r.says("check of the certificate chain failed"));
    CHECK(r.heads == 0);
  }
}

TEST_CASE_FIXTURE(TlsFixture, "the system's CAs do not know a private one") {
  if (!start("server")) return;
  c.ca_file = {};
  CHECK(call(c).says("check of the certificate chain failed"));
}

TEST_CASE_FIXTURE(TlsFixture, "a server of another name is refused: the host name, with the names found") {
  if (!start("server")) return;
  for (const char* name : {"elsewhere.test", ""}) {
    c.tls_server_name = tg_cstr(name);
    const HttpResult r = call(c);
    CHECK(r.status == TG_E_UNAVAILABLE);
    CHECK(r.says("check of the host name failed"));
    CHECK(r.says("DNS:gateway.test"));
  }
}

TEST_CASE_FIXTURE(TlsFixture,
                  "NO_HOSTNAME believes any name of the CA, OFF believes all, an unknown value is STRICT") {
  if (!start("server")) return;
  c.tls_server_name = tg_cstr("elsewhere.test");
  c.tls_verify = TG_TLS_NO_HOSTNAME;
  CHECK(call(c).body == "safe");
  c.ca_file = to_str(other);
  c.tls_verify = TG_TLS_OFF;
  CHECK(call(c).body == "safe");
  c.ca_file = to_str(ca);
  c.tls_verify = 77;
  CHECK(call(c).status == TG_E_UNAVAILABLE);
}

TEST_CASE_FIXTURE(TlsFixture, "a client certificate is shown, from files or from PEM text") {
  if (!start("server", true)) return;
  const std::string cert = at("client.pem"), key = at("client.key");
  const std::string cert_pem = file_text(cert), key_pem = file_text(key);
  c.client_cert_file = to_str(cert);
  c.client_key_file = to_str(key);
  CHECK(call(c).body == "safe");
  c.client_cert_file = c.client_key_file = {};
  c.client_cert_pem = to_str(cert_pem);
  c.client_key_pem = to_str(key_pem);
  const HttpResult r = call(c);
  CHECK(r.text == "");
  CHECK(r.body == "safe");
}

TEST_CASE_FIXTURE(TlsFixture, "a server that wants a client certificate says so when there is none") {
  if (!start("server", true)) return;
  const HttpResult r = call(c);
  CHECK(r.status == TG_E_UNAVAILABLE);
  CHECK(r.says("certificate required"));
  CHECK(r.says("check the client certificate"));
}

TEST_CASE_FIXTURE(TlsFixture, "wrong key material is refused, and none of it stands in the text") {
  if (!start("server", true)) return;
  const std::string cert = at("client.pem"), wrong = at("other.key"), none = at("none");
  c.client_cert_file = to_str(cert);
  CHECK(call(c).says("found only the certificate"));
  c.client_key_file = to_str(wrong);
  CHECK(call(c).says("belongs to the client key"));
  c.client_key_file = to_str(none);
  CHECK(call(c).status == TG_E_NOT_FOUND);
  c.client_key_file = {};
  c.client_key_pem = tg_cstr("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
  const HttpResult r = call(c);
  CHECK(r.status == TG_E_INVALID);
  CHECK_FALSE(r.says("c2VjcmV0"));
  c.client_cert_file = c.client_key_pem = {};
  c.ca_pem = tg_cstr("no certificate");
  CHECK(call(c).says("expected PEM certificates"));
}

TEST_CASE_FIXTURE(TlsFixture, "a plain port is named as the likely reason when TLS finds one") {
  Server plain([](Peer& p) { p.send("HTTP/1.1 400 Bad Request\r\n\r\n"), p.wait_gone(); });
  const std::string wrong = "https://127.0.0.1:" + std::to_string(plain.port());
  const HttpResult r = get(wrong);
  CHECK(r.status == TG_E_UNAVAILABLE);
  CHECK(r.says("plain http"));
}

TEST_CASE_FIXTURE(TlsFixture, "the stop token ends a TLS handshake that stands still") {
  Server silent([](Peer& p) { p.wait_gone(); });
  const std::string wrong = "https://127.0.0.1:" + std::to_string(silent.port());
  StopAtAsk stop(6);
  CHECK(call(to(wrong), &stop).status == TG_E_CANCELLED);
}

TEST_CASE_FIXTURE(TlsFixture,
                  "a TLS stream is cut by false, and a body up to the close needs the end of TLS") {
  if (!start("server")) return;
  bool polite = true;
  Server events(
      [&](Peer& p) {
        p.head();
        p.send("HTTP/1.1 200 OK\r\n\r\nevent");
        if (!polite) p.cut();
      },
      context->it);
  const std::string watch = events.url();
  c.url = to_str(watch);
  const auto all = [](std::string_view) { return true; };
  CHECK(stream(c, all).status == TG_OK);
  CHECK(stream(c, [](std::string_view) { return false; }).body == "event");
  polite = false;
  const HttpResult r = stream(c, all);
  CHECK(r.body == "event");
  CHECK(r.status == TG_E_UNAVAILABLE);
  CHECK(r.says("close_notify"));
}

}  // namespace
}  // namespace tidegate::plugin
