"""Engines whose framing is doubtful or that never come to a body: before the first byte 502 or 504, after it the
client is told and nothing looks complete."""

import contextlib
import select
import unittest

from harness import LAST_CHUNK, SSE_HEAD, Closed, Scenario, chat_body, chunk, post, sse_events

BODY = chat_body()
STREAM = chat_body(stream=True)
JSON_HEAD = SSE_HEAD.replace(b"text/event-stream", b"application/json")

TRICKS = {
    "a size with 0x": b"0x5\r\nhello\r\n",
    "a signed size": b"+5\r\nhello\r\n",
    "a negative size": b"-5\r\nhello\r\n",
    "an empty size": b"\r\nhello\r\n",
    "a size that wraps 64 bits": b"10000000000000005\r\nhello\r\n",
    "a size with many zeros": b"0" * 300 + b"5\r\nhello\r\n",
    "a blank before a size": b" 5\r\nhello\r\n",
    "a bare LF behind a size": b"5\nhello\r\n",
    "a bare CR behind a size": b"5\rhello\r\n",
    "a bare LF behind the data": b"5\r\nhello\n",
    "data longer than its size": b"5\r\nhello world\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "a bare LF in an extension": b"5;a=b\nX\r\nhello\r\n",
    "an endless extension": b"5;" + b"a" * 100_000,
    "a bare LF behind the last chunk": b"0\n\r\n",
    "a trailer without a colon": b"0\r\nX-A\r\n\r\n",
    "a folded trailer": b"0\r\nX-A: b\r\n c\r\n\r\n",
    "endless trailers": b"0\r\n" + b"X-A: b\r\n" * 20_000,
}


class Framing(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()
        self.gw = self.gateway(self.engine)

    def ask(self, body):
        client = self.client(self.gw)
        client.send(post(body))
        connection = self.engine.next_connection()
        connection.read_message()
        return client, connection

    def say(self, connection, data):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the gateway may have heard enough
            connection.send(data)

    def test_broken_chunks_before_the_first_byte_are_502(self):
        for name, trick in TRICKS.items():
            for head, body in ((JSON_HEAD, BODY), (SSE_HEAD, STREAM)):
                with self.subTest(name, head=head):
                    client, connection = self.ask(body)
                    self.say(connection, head + trick)
                    self.assert_error(client.read_message(), 502, "upstream_invalid_response")
                    connection.wait_closed()
                    connection.close()
        self.assert_serves(self.gw, self.engine)

    def test_broken_chunks_after_the_first_byte_never_look_complete(self):
        for name, trick in TRICKS.items():
            with self.subTest(name):
                client, connection = self.ask(BODY)
                connection.send(JSON_HEAD + chunk(b"first"))
                self.assertEqual(200, client.read_head().status)
                self.assertEqual(b"first", client.read_chunk())
                self.say(connection, trick)
                with self.assertRaises(Closed):
                    client.read_chunked_rest()
                connection.wait_closed()
                connection.close()
        self.assert_serves(self.gw, self.engine)

    def test_broken_chunks_within_a_stream_become_an_error_event(self):
        for name, trick in TRICKS.items():
            with self.subTest(name):
                client, connection = self.ask(STREAM)
                connection.send(SSE_HEAD + chunk(b"data: 1\n\n"))
                self.assertEqual(200, client.read_head().status)
                self.assertEqual(b"data: 1\n\n", client.read_chunk())
                self.say(connection, trick)
                data, trailer = client.read_chunked_rest()
                self.assertIn(b'"error"', sse_events(data)[-1])
                self.assertEqual(b"", trailer)
                self.assertEqual(b"", client.read_to_eof())
                connection.wait_closed()
                connection.close()
        self.assert_serves(self.gw, self.engine)

    def test_chunks_of_http_1_0_are_502(self):
        client, connection = self.ask(BODY)
        connection.send(JSON_HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + chunk(b"{}") + LAST_CHUNK)
        self.assert_error(client.read_message(), 502, "upstream_invalid_response")
        connection.wait_closed()

    def test_extensions_and_sizes_with_leading_zeros_pass(self):
        client, connection = self.ask(BODY)
        connection.send(JSON_HEAD + b'0005;a=b;c="d"\r\nhello\r\n000;e\r\n\r\n')
        self.assertEqual(b"hello", client.read_message().body)


class NeverABody(Scenario):
    """Bytes come, again and again, but none of a body: the limit of the first byte is one."""

    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()
        self.gw = self.gateway(self.engine, config={"upstream": {"first_byte_timeout": "400ms"}})

    def dripped(self, first, drip):
        """The answer to a client whose engine sends `first` and then `drip` every now and then."""
        client = self.client(self.gw)
        client.send(post(BODY))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(first)
        for _ in range(200):
            if select.select([client.sock], [], [], 0.05)[0]:  # the engine's pace, well within the limit
                break
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(drip)
        return client.read_message(), connection

    def test_a_head_that_trickles_is_504(self):
        answer, connection = self.dripped(b"HTTP/1.1 200 OK\r\nX: ", b"a")
        self.assert_error(answer, 504, "upstream_timeout")
        connection.wait_closed()

    def test_a_chunk_that_never_begins_is_504(self):
        answer, connection = self.dripped(JSON_HEAD + b"5;", b"a")
        self.assert_error(answer, 504, "upstream_timeout")
        connection.wait_closed()

    def test_interim_responses_without_end_are_502_or_504(self):
        answer, connection = self.dripped(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5)
        self.assert_error(answer, (502, 504))
        connection.wait_closed()

    def test_a_few_interim_responses_are_skipped(self):
        client = self.client(self.gw)
        client.send(post(BODY))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 3 + JSON_HEAD + chunk(b"{}") + LAST_CHUNK)
        answer = client.read_message()
        self.assertEqual((200, b"{}"), (answer.status, answer.body))


if __name__ == "__main__":
    unittest.main()
