"""What two parsers could read differently never reaches an engine.

Every form is sent on a connection of its own; then an ordinary request follows on another one. The engine must see
that ordinary request as the very first: a smuggled one would have come before it.
"""

import select
import unittest

from harness import LAST_CHUNK, WAIT, Client, Scenario, chat_body, chunk, get, json_response, post

BODY = chat_body("honest")
SMUGGLED = b"POST /v1/completions HTTP/1.1\r\nHost: evil\r\nContent-Length: 2\r\n\r\n{}"


def head(*lines, first=b"POST /v1/chat/completions HTTP/1.1", host=b"Host: gateway"):
    return b"\r\n".join([first, *([host] if host else []), *lines]) + b"\r\n\r\n"


def with_length(*lines, **options):
    return head(*lines, b"Content-Length: %d" % len(BODY), **options) + BODY


def chunked(body, *lines):
    return head(b"Transfer-Encoding: chunked", *lines) + body


LENGTHS = {
    "both lengths": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + LAST_CHUNK + SMUGGLED,
    "both lengths, the other way round": head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + LAST_CHUNK,
    "two equal lengths": head(b"Content-Length: %d" % len(BODY), b"Content-Length: %d" % len(BODY)) + BODY,
    "two different lengths": head(b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
    "a list of equal lengths": head(b"Content-Length: %d, %d" % (len(BODY), len(BODY))) + BODY,
    "a list of different lengths": head(b"Content-Length: 0, 5") + SMUGGLED,
    "a sign before the length": head(b"Content-Length: +%d" % len(BODY)) + BODY,
    "a negative length": head(b"Content-Length: -1") + BODY,
    "a hexadecimal length": head(b"Content-Length: 0x5") + BODY,
    "letters behind the length": head(b"Content-Length: 5a") + BODY,
    "a blank inside the length": head(b"Content-Length: 1 0") + BODY,
    "an empty length": head(b"Content-Length:") + BODY,
    "a fraction": head(b"Content-Length: 5.0") + BODY,
    "a quoted length": head(b'Content-Length: "5"') + BODY,
    "a length of 2^63": head(b"Content-Length: 9223372036854775808") + BODY,
    "a length that wraps 64 bits": head(b"Content-Length: 18446744073709551621") + BODY,
    "a length with a hundred digits": head(b"Content-Length: " + b"1" * 100) + BODY,
}

CODINGS = {
    "coding identity": head(b"Transfer-Encoding: identity") + BODY,
    "coding gzip": head(b"Transfer-Encoding: gzip") + BODY,
    "gzip, chunked": head(b"Transfer-Encoding: gzip, chunked") + LAST_CHUNK,
    "chunked, gzip": head(b"Transfer-Encoding: chunked, gzip") + LAST_CHUNK,
    "chunked, chunked": head(b"Transfer-Encoding: chunked, chunked") + LAST_CHUNK,
    "chunked, identity": head(b"Transfer-Encoding: chunked, identity") + LAST_CHUNK,
    "a list with an empty member": head(b"Transfer-Encoding: , chunked") + LAST_CHUNK,
    "a trailing comma": head(b"Transfer-Encoding: chunked,") + LAST_CHUNK,
    "repeated coding": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + LAST_CHUNK,
    "repeated, identity last": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + LAST_CHUNK,
    "xchunked": head(b"Transfer-Encoding: xchunked", b"Content-Length: 5") + SMUGGLED,
    "a coding with a parameter": head(b"Transfer-Encoding: chunked;q=1") + LAST_CHUNK,
    "a quoted coding": head(b'Transfer-Encoding: "chunked"') + LAST_CHUNK,
    "an empty coding": head(b"Transfer-Encoding:") + LAST_CHUNK,
    "a vertical tab before chunked": head(b"Transfer-Encoding: \x0bchunked") + LAST_CHUNK,
    "chunked on HTTP/1.0": head(b"Transfer-Encoding: chunked",
                                first=b"POST /v1/chat/completions HTTP/1.0") + LAST_CHUNK,
}

LINES = {
    "a folded header": with_length(b"X-A: one\r\n two"),
    "a header folded by a tab": with_length(b"X-A: one\r\n\ttwo"),
    "a folded Transfer-Encoding": head(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5") + SMUGGLED,
    "Transfer-Encoding folded into another header": head(b"X-A: one\r\n Transfer-Encoding: chunked",
                                                        b"Content-Length: 5") + SMUGGLED,
    "a fold before the first header": b"POST /v1/chat/completions HTTP/1.1\r\n X-A: one\r\nHost: gateway\r\n\r\n",
    "a fold of blanks only": with_length(b"X-A: one\r\n "),
    "a blank before the colon of a length": head(b"Content-Length : %d" % len(BODY)) + BODY,
    "a blank before the colon of a coding": head(b"Transfer-Encoding : chunked", b"Content-Length: 5") + SMUGGLED,
    "a tab before a colon": with_length(b"X-A\t: one"),
    "a blank inside a name": with_length(b"X A: one"),
    "no colon": with_length(b"X-A"),
    "no name": with_length(b": one"),
    "a NUL in a value": with_length(b"X-A: on\0e"),
    "a NUL in a name": with_length(b"X\0A: one"),
    "a CR in a value": with_length(b"X-A: on\re"),
    "a CR that hides a coding": head(b"X-A: one\rTransfer-Encoding: chunked", b"Content-Length: 5") + SMUGGLED,
    "a CR in a name": with_length(b"X\rA: one"),
    "a CR before CRLF": with_length(b"X-A: one\r"),
    "a bare LF behind a header": with_length(b"X-A: one\nX-B: two"),
    "a bare LF that hides a coding": head(b"X-A: one\nTransfer-Encoding: chunked", b"Content-Length: 5") + SMUGGLED,
    "a bare LF behind the request line": b"POST /v1/chat/completions HTTP/1.1\nHost: gateway\r\n\r\n",
    "bare LFs throughout": with_length().replace(b"\r\n", b"\n"),
    "a bare LF as the end of the head": head(b"Content-Length: 0")[:-2] + b"\n" + SMUGGLED,
    "two Hosts": with_length(b"Host: other"),
    "two equal Hosts": with_length(b"Host: gateway"),
    "no Host": with_length(host=None),
    "a list of Hosts": with_length(host=b"Host: gateway, other"),
    "a Host with a path": with_length(host=b"Host: gateway/evil"),
    "a Host with a user": with_length(host=b"Host: user@gateway"),
    "a Host with a blank": with_length(host=b"Host: gate way"),
}

# Servers that make variables of headers (CGI, WSGI) read '_' as '-'.
UNDERSCORES = {
    "Content_Length": with_length(b"Content_Length: 0"),
    "Content_Length alone": head(b"Content_Length: %d" % len(SMUGGLED)) + SMUGGLED,
    "Transfer_Encoding": with_length(b"Transfer_Encoding: chunked"),
    "in other letters": with_length(b"TRANSFER_encoding: chunked"),
    "X_Forwarded_For": with_length(b"X_Forwarded_For: 127.0.0.1"),
    "half of them": with_length(b"X-Forwarded_For: 127.0.0.1"),
    "X_Forwarded_Host": with_length(b"X_Forwarded_Host: evil"),
    "X_Forwarded_Proto": with_length(b"X_Forwarded_Proto: https"),
    "X_Request_Id": with_length(b"X_Request_Id: 1"),
    "Proxy_Authorization": with_length(b"Proxy_Authorization: Basic eA=="),
}

TARGETS = {
    "two blanks in the request line": with_length(first=b"POST  /v1/chat/completions HTTP/1.1"),
    "a tab in the request line": with_length(first=b"POST\t/v1/chat/completions HTTP/1.1"),
    "a blank in the target": with_length(first=b"POST /v1/chat completions HTTP/1.1"),
    "a blank behind the version": with_length(first=b"POST /v1/chat/completions HTTP/1.1 "),
    "a fragment": with_length(first=b"POST /v1/chat/completions#x HTTP/1.1"),
    "a NUL in the target": with_length(first=b"POST /v1/chat\0completions HTTP/1.1"),
    "a byte above 0x7f in the target": with_length(first=b"POST /v1/chat\xffcompletions HTTP/1.1"),
    "a target without a slash": with_length(first=b"POST v1/chat/completions HTTP/1.1"),
    "an absolute target of another host": with_length(first=b"POST http://evil/v1/chat/completions HTTP/1.1"),
    "CONNECT": with_length(first=b"CONNECT gateway:80 HTTP/1.1"),
    "* with POST": with_length(first=b"POST * HTTP/1.1"),
    "a method with a separator": with_length(first=b"PO(ST /v1/chat/completions HTTP/1.1"),
    "no version": with_length(first=b"POST /v1/chat/completions"),
    "a lower-case version": with_length(first=b"POST /v1/chat/completions http/1.1"),
    "version 1.10": with_length(first=b"POST /v1/chat/completions HTTP/1.10"),
    "version 2.0": with_length(first=b"POST /v1/chat/completions HTTP/2.0"),
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
}

CHUNKS = {
    "a chunk size with 0x": chunked(b"0x5\r\nhello\r\n" + LAST_CHUNK),
    "a signed chunk size": chunked(b"+5\r\nhello\r\n" + LAST_CHUNK),
    "a negative chunk size": chunked(b"-5\r\nhello\r\n" + LAST_CHUNK),
    "a blank before a chunk size": chunked(b" 5\r\nhello\r\n" + LAST_CHUNK),
    "an empty chunk size": chunked(b"\r\nhello\r\n" + LAST_CHUNK),
    "a chunk size that is no number": chunked(b"g\r\nhello\r\n" + LAST_CHUNK),
    "a chunk size that wraps 64 bits": chunked(b"10000000000000005\r\nhello\r\n" + LAST_CHUNK),
    "a chunk size with many zeros": chunked(b"0" * 300 + b"5\r\nhello\r\n" + LAST_CHUNK),
    "a bare LF behind a chunk size": chunked(b"5\nhello\r\n" + LAST_CHUNK),
    "a bare LF behind chunk data": chunked(b"5\r\nhello\n" + LAST_CHUNK),
    "a bare CR behind a chunk size": chunked(b"5\rhello\r\n" + LAST_CHUNK),
    "chunk data longer than its size": chunked(b"5\r\nhello world\r\n" + LAST_CHUNK),
    "nothing behind chunk data": chunked(b"5\r\nhello0\r\n\r\n"),
    "a bare LF in a chunk extension": chunked(b"5;a=b\nX\r\nhello\r\n" + LAST_CHUNK),
    "a bare CR in a chunk extension": chunked(b"5;a=b\rX\r\nhello\r\n" + LAST_CHUNK),
    "a NUL in a chunk extension": chunked(b"5;a=\0\r\nhello\r\n" + LAST_CHUNK),
    "an endless chunk extension": chunked(b"5;" + b"a" * 70_000 + b"\r\nhello\r\n" + LAST_CHUNK),
    "a bare LF behind the last chunk": chunked(chunk(BODY) + b"0\n\r\n"),
    "a bare LF behind the trailers": chunked(chunk(BODY) + b"0\r\nX-A: b\r\n\n"),
    "a folded trailer": chunked(chunk(BODY) + b"0\r\nX-A: b\r\n c\r\n\r\n"),
    "a trailer without a colon": chunked(chunk(BODY) + b"0\r\nX-A\r\n\r\n"),
    "endless trailers": chunked(chunk(BODY) + b"0\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n"),
}


class Smuggling(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()
        self.gateway_process = self.gateway(self.engine)

    def assert_refused(self, forms, status=400):
        for name, attack in forms.items():
            with self.subTest(name):
                client = self.client(self.gateway_process)
                try:
                    client.send(attack)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # refused before all of it was taken
                answer = client.read_message()
                self.assertIn(answer.status, (status,) if isinstance(status, int) else status, answer)
                self.assertEqual({"error"}, set(answer.json()), answer)
                # One answer and the end: nothing behind the doubtful head may be taken for a request.
                client.finish_sending()
                self.assertEqual(b"", client.read_to_eof(), "bytes behind the answer")
        self.assert_serves(self.gateway_process, self.engine)
        self.assertTrue(self.engine.untouched())

    def test_doubtful_lengths_are_refused(self):
        self.assert_refused(LENGTHS)

    def test_doubtful_codings_are_refused(self):
        self.assert_refused(CODINGS)

    def test_doubtful_lines_are_refused(self):
        self.assert_refused(LINES)

    def test_doubtful_request_lines_are_refused(self):
        self.assert_refused(TARGETS, status=(400, 404, 405, 505))

    def test_doubtful_chunks_are_refused(self):
        self.assert_refused(CHUNKS, status=(400, 413))

    def test_a_chunk_that_never_ends_never_reaches_an_engine(self):
        client = self.client(self.gateway_process)
        client.send(chunked(b"ffffffffffffffff\r\nhello\r\n" + LAST_CHUNK + SMUGGLED))
        client.finish_sending()
        client.wait_closed()
        self.assert_serves(self.gateway_process, self.engine)

    def test_the_body_of_a_get_is_a_body_and_no_request(self):
        client = self.client(self.gateway_process)
        client.send(get("/v1/models", headers=[f"Content-Length: {len(SMUGGLED)}"]) + SMUGGLED)
        client.read_message()
        self.assert_serves(self.gateway_process, self.engine)

    def test_the_unread_body_of_a_refused_request_is_no_request(self):
        for path in ("/nowhere", "/v1/models"):
            with self.subTest(path):
                client = self.client(self.gateway_process)
                client.send(post(SMUGGLED, path=path))
                self.assertIn(client.read_message().status, (404, 405))
                client.finish_sending()
                self.assertEqual(b"", client.read_to_eof())
        self.assert_serves(self.gateway_process, self.engine)

    def test_a_pipelined_request_behind_a_doubtful_one_is_dropped(self):
        client = self.client(self.gateway_process)
        client.send(head(b"Content-Length: 0", b"Content-Length: 0") + post(BODY))
        self.assertEqual(400, client.read_message().status)
        client.finish_sending()
        self.assertEqual(b"", client.read_to_eof())
        self.assert_serves(self.gateway_process, self.engine)

    def test_a_length_on_a_header_that_connection_names_still_frames_the_body(self):
        client = self.client(self.gateway_process)
        client.send(with_length(b"Connection: Content-Length"))
        answer_or_request = self.one_request_or_none(client)
        if answer_or_request is not None:
            self.assertEqual(BODY, answer_or_request.body)

    def test_names_that_only_an_underscore_tells_from_the_gateways_are_refused(self):
        self.assert_refused(UNDERSCORES)

    def test_any_other_name_with_an_underscore_passes(self):
        client = self.client(self.gateway_process)
        client.send(with_length(b"X_Tenant: a"))
        request = self.one_request_or_none(client)
        self.assertEqual(["a"], request.head.all("X_Tenant"))

    def one_request_or_none(self, client):
        """What the engine sees: exactly one request, answered here; or none, then the client has got a 400."""
        ready = select.select([client.sock, self.engine.listener], [], [], WAIT)[0]
        if client.sock in ready:
            self.assertEqual(400, client.read_message().status)
            return None
        connection = self.engine.accept()
        request = connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assertTrue(connection.is_quiet())
        self.assertTrue(self.engine.untouched())
        return request


class Tolerated(Scenario):
    """Odd but unambiguous: exactly one request, with exactly this body."""

    def test_unambiguous_forms_pass_as_exactly_one_request(self):
        forms = {
            "two empty lines before the request": b"\r\n\r\n" + with_length(),
            "blanks around a length": head(b"Content-Length: \t %d \t" % len(BODY)) + BODY,
            "leading zeros of a length": head(b"Content-Length: 000%d" % len(BODY)) + BODY,
            "a coding in capitals": head(b"TRANSFER-ENCODING: CHUNKED") + chunk(BODY) + LAST_CHUNK,
            "a chunk extension": chunked(b'%x;a=b;c="d e"\r\n%s\r\n0;e=f\r\n\r\n' % (len(BODY), BODY)),
            "chunk sizes with leading zeros": chunked(b"0000%x\r\n%s\r\n000\r\n\r\n" % (len(BODY), BODY)),
            "many small chunks": chunked(b"".join(chunk(bytes([byte])) for byte in BODY) + LAST_CHUNK),
            "a trailer": chunked(chunk(BODY) + b"0\r\nX-Checksum: 1\r\n\r\n"),
            "an absolute target of this host": with_length(
                first=b"POST http://gateway/v1/chat/completions HTTP/1.1"),
        }
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        for name, request in forms.items():
            with self.subTest(name):
                client = Client(gateway.port)
                client.send(request)
                connection = engine.accept()
                seen = connection.read_message()
                self.assertEqual(BODY, seen.body)
                self.assertEqual(1, len(seen.head.all("Content-Length")) + len(seen.head.all("Transfer-Encoding")))
                connection.send(json_response(headers=[b"Connection: close"]))
                self.assertEqual(200, client.read_message().status)
                self.assertEqual("fin", connection.wait_closed())
                client.close()
                connection.close()
        self.assertTrue(engine.untouched())


if __name__ == "__main__":
    unittest.main()
