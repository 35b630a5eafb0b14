#include "plugin/host_http_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <string>

#include <Poco/Net/Context.h>
#include <Poco/Net/IPAddress.h>
#include <Poco/Net/NetSSL.h>

namespace tidegate::plugin {
namespace {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Ssl = std::unique_ptr<SSL, Freed<SSL_free>>;

constexpr std::size_t record_bytes = 16 * 1024;

// OpenSSL would ask the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = code ? ERR_reason_error_string(code) : nullptr;
  return text ? text : "no reason given";
}

std::string text_of(BIO* bio) {
  char* at = nullptr;
  const long size = BIO_get_mem_data(bio, &at);
  return size > 0 ? std::string(at, static_cast<std::size_t>(size)) : std::string();
}

// "CN = x; DNS:a, IP Address:1.2.3.4"
std::string names_of(X509* certificate) {
  const Bio out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), X509_get_subject_name(certificate), 0, XN_FLAG_ONELINE);
  const int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
  if (at >= 0) {
    BIO_puts(out.get(), "; ");
    X509V3_EXT_print(out.get(), X509_get_ext(certificate, at), 0, 0);
  }
  return text_of(out.get()).substr(0, 120);
}

std::vector<Certificate> certificates_of(const std::string& name, const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::vector<Certificate> out;
  ERR_clear_error();
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)) out.emplace_back(one);
  const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (out.empty() || !ended)
    throw HttpFailure(TG_E_INVALID, name +
                                        ": expected PEM certificates (-----BEGIN CERTIFICATE-----), found " +
                                        (ended ? "none" : "a damaged one: " + openssl_reason()) +
                                        "; give certificates in PEM form");
  ERR_clear_error();
  return out;
}

void use_client_certificate(SSL_CTX* context, const TlsRequest& request) {
  const auto chain = certificates_of("client certificate", request.client_cert_pem);
  const std::string& pem = request.client_key_pem.text();
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key)
    throw HttpFailure(TG_E_INVALID, "client key: expected a PEM private key without a passphrase, found: " +
                                        openssl_reason() + "; give such a key");
  bool good = SSL_CTX_use_certificate(context, chain.front().get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
  for (std::size_t i = 1; i < chain.size() && good; ++i)
    good = SSL_CTX_add1_chain_cert(context, chain[i].get()) == 1;
  if (!good)
    throw HttpFailure(TG_E_INVALID,
                      "client certificate: expected one that belongs to the client key, found: " +
                          openssl_reason() + "; give a pair, the own certificate first");
}

Poco::Net::Context::Ptr context_of(const TlsRequest& request) {
  // Never undone: other parts of the process may use OpenSSL until its last moment.
  static const bool initialized = (Poco::Net::initializeSSL(), true);
  static_cast<void>(initialized);
  Poco::Net::Context::Params params;
  params.verificationMode = Poco::Net::Context::VERIFY_NONE;  // set for each connection, below
  params.loadDefaultCAs = request.ca_pem.empty() && request.verify != TG_TLS_OFF;
  params.cipherList = "DEFAULT";
  Poco::Net::Context::Ptr context(new Poco::Net::Context(Poco::Net::Context::TLS_CLIENT_USE, params));
  context->requireMinimumProtocol(Poco::Net::Context::PROTO_TLSV1_2);
  X509_STORE* store = SSL_CTX_get_cert_store(context->sslContext());
  for (const std::string& pem : request.ca_pem)
    for (const Certificate& one : certificates_of("ca", pem)) X509_STORE_add_cert(store, one.get());
  if (!request.client_cert_pem.empty()) use_client_certificate(context->sslContext(), request);
  return context;
}

}  // namespace

struct TlsConnection::Impl {
  Impl(PlainConnection& p, const TlsRequest& r)
      : plain(p), request(r), context(context_of(r)), ssl(SSL_new(context->sslContext())) {}

  void prepare();
  void handshake();
  void flush();
  bool feed();
  [[noreturn]] void fail(int error, const std::string& doing);
  static int on_verify(int good, X509_STORE_CTX*) noexcept;

  PlainConnection& plain;
  const TlsRequest& request;
  const Poco::Net::Context::Ptr context;
  const Ssl ssl;
  BIO *in = nullptr, *out = nullptr;  // owned by ssl
  std::string refused;                // names of the certificate that failed
};

// Keeps the names for the text: after a failed handshake the certificate is gone.
int TlsConnection::Impl::on_verify(int good, X509_STORE_CTX* store) noexcept {
  if (good) return good;
  const auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* self = static_cast<Impl*>(SSL_get_app_data(ssl));
  X509* at = X509_STORE_CTX_get_current_cert(store);
  try {
    if (self && at) self->refused = names_of(at);
  } catch (...) {  // the names are only for the text
  }
  return 0;
}

// TLS works on memory and PlainConnection moves the bytes: so waiting, stopping and MSG_NOSIGNAL are in one
// place, which OpenSSL's own socket I/O would go around.
void TlsConnection::Impl::prepare() {
  in = BIO_new(BIO_s_mem());
  out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), in, out);
  SSL_set_app_data(ssl.get(), this);
  SSL_clear_options(ssl.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_set_verify(ssl.get(), request.verify == TG_TLS_OFF ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, &on_verify);
  Poco::Net::IPAddress literal;
  const bool is_address = Poco::Net::IPAddress::tryParse(request.server_name, literal);
  if (!is_address) SSL_set_tlsext_host_name(ssl.get(), request.server_name.c_str());
  if (request.verify == TG_TLS_STRICT) {
    X509_VERIFY_PARAM* rules = SSL_get0_param(ssl.get());
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const bool set = is_address ? X509_VERIFY_PARAM_set1_ip_asc(rules, request.server_name.c_str()) == 1
                                : X509_VERIFY_PARAM_set1_host(rules, request.server_name.data(),
                                                              request.server_name.size()) == 1;
    if (!set)
      throw HttpFailure(TG_E_INVALID, "tls_server_name: expected a host name or an address, found '" +
                                          request.server_name + "'; correct it");
  }
  constexpr unsigned char http11[] = "\x08http/1.1";
  SSL_set_alpn_protos(ssl.get(), http11, sizeof http11 - 1);
  SSL_set_connect_state(ssl.get());
}

void TlsConnection::Impl::flush() {
  char* at = nullptr;
  const long size = BIO_get_mem_data(out, &at);
  if (size > 0) plain.send({at, static_cast<std::size_t>(size)});
  BIO_reset(out);
}

bool TlsConnection::Impl::feed() {
  char bytes[record_bytes];
  const std::size_t n = plain.receive(bytes, sizeof bytes);
  if (n != 0) BIO_write(in, bytes, static_cast<int>(n));
  return n != 0;
}

void TlsConnection::Impl::fail(int error, const std::string& doing) {
  const long verdict = SSL_get_verify_result(ssl.get());
  std::string text = "TLS with " + plain.origin() + ": ";
  if (request.verify != TG_TLS_OFF && verdict != X509_V_OK) {
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
      text += "the check of the host name failed: expected a certificate for '" + request.server_name +
              "', found one for '" + refused + "'; set tls_server_name or get another certificate";
    else
      text += std::string(
                  "the check of the certificate chain failed: expected a valid chain to a trusted CA, "
                  "found: ") +
              X509_verify_cert_error_string(verdict) + " ('" + refused +
              "'); check ca_file or ca_pem and the certificate's dates";
    throw HttpFailure(TG_E_UNAVAILABLE, text);
  }
  text += doing + ": expected a TLS server that accepts us, found: " +
          (error == SSL_ERROR_SSL ? openssl_reason() : "the connection ended");
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  if (error == SSL_ERROR_SSL && reason == SSL_R_WRONG_VERSION_NUMBER)
    text += "; is it a plain http port?";
  else if (error == SSL_ERROR_SSL && reason >= SSL_AD_REASON_OFFSET)
    text += "; the server sent this alert: check the client certificate and what the server accepts";
  else
    text += "; check that the port speaks TLS";
  throw HttpFailure(TG_E_UNAVAILABLE, text);
}

void TlsConnection::Impl::handshake() {
  for (;;) {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl.get());
    const int error = SSL_get_error(ssl.get(), done);
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) {
      char* at = nullptr;
      const long size = BIO_get_mem_data(out, &at);
      if (size > 0) plain.send_last({at, static_cast<std::size_t>(size)});  // our alert, for the server's log
      fail(error, "handshake");
    }
    flush();
    if (done == 1) return;
    if (error != SSL_ERROR_WANT_READ || !feed()) fail(SSL_ERROR_SYSCALL, "handshake");
  }
}

TlsConnection::TlsConnection(PlainConnection& plain, const TlsRequest& request)
    : impl_(std::make_unique<Impl>(plain, request)) {
  impl_->prepare();
  impl_->handshake();
}

TlsConnection::~TlsConnection() {
  ERR_clear_error();
  if (!SSL_in_init(impl_->ssl.get())) SSL_shutdown(impl_->ssl.get());
  char* at = nullptr;
  const long size = BIO_get_mem_data(impl_->out, &at);
  if (size > 0) impl_->plain.send_last({at, static_cast<std::size_t>(size)});
  ERR_clear_error();
}

std::size_t TlsConnection::receive(char* to, std::size_t size) {
  for (;;) {
    ERR_clear_error();
    const int n = SSL_read(impl_->ssl.get(), to, static_cast<int>(std::min(size, record_bytes)));
    const int error = SSL_get_error(impl_->ssl.get(), n);
    impl_->flush();  // key updates
    if (n > 0) return static_cast<std::size_t>(n);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    if (error != SSL_ERROR_WANT_READ) impl_->fail(error, "receive");
    if (!impl_->feed())
      throw HttpFailure(TG_E_UNAVAILABLE,
                        "TLS with " + impl_->plain.origin() +
                            ": expected a close_notify at the end, found a cut connection; the "
                            "reply may be incomplete, try again");
  }
}

void TlsConnection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), record_bytes);
    ERR_clear_error();
    const int sent = SSL_write(impl_->ssl.get(), bytes.data(), static_cast<int>(n));
    if (sent <= 0) impl_->fail(SSL_get_error(impl_->ssl.get(), sent), "send");
    impl_->flush();
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace tidegate::plugin
