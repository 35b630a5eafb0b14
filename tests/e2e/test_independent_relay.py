"""What goes in comes out, and who goes is let go, over every pair of a client and a server (peer_pairs.py)."""

import unittest

from harness import SLOW_BUILD, chat_body
from peer_clients import Request
from peer_pairs import LARGE_BODY, ODD_BODY, STREAMED, Pair, clients, expand, parts
from peer_servers import EVENTS, PAYLOAD, STREAM, TRAILER

GROWTH_KIB = 1024


@expand
class Requests(Pair):
    def assert_arrives(self, request, **config):
        client, server = self.pair(**config)
        answer = client.ask(request)
        self.assertEqual((200, PAYLOAD), (answer.status, answer.body))
        record = self.sole_record(server)
        self.assertEqual((request.method, request.path), (record.method, record.target))
        self.assertEqual(request.body, record.body)
        framing = [name for name, _ in record.headers if name.lower() in ("content-length", "transfer-encoding")]
        self.assertEqual(1, len(framing), record.headers)
        return answer, record

    def each_body_arrives_byte_for_byte(self):
        self.assert_arrives(Request(ODD_BODY))

    def each_large_body_arrives_byte_for_byte(self):
        self.assert_arrives(Request(LARGE_BODY))

    def each_chunked_upload_arrives_byte_for_byte(self):
        self.assert_arrives(Request(LARGE_BODY, chunked=True))

    def each_target_and_headers_arrive(self):
        _, record = self.assert_arrives(Request(
            ODD_BODY, "/v1/chat/completions?a=%2F&b=c%20d", headers=(
                "X-Custom: a  b", "X-Request-Id: mine", "Connection: keep-alive, X-Hop", "X-Hop: 1")))
        headers = {name.lower(): value for name, value in record.headers}
        self.assertEqual(("a  b", "mine"), (headers["x-custom"], headers["x-request-id"]))
        self.assertNotIn("x-hop", headers)
        self.assertTrue(headers["host"].startswith("127.0.0.1:"), headers)

    def each_expected_continue_comes_and_then_the_body(self):
        answer, record = self.assert_arrives(Request(LARGE_BODY, expect=True))
        self.assertEqual([100], answer.interim)
        self.assertNotIn("expect", [name.lower() for name, _ in record.headers])

    def each_http_1_0_client_is_answered_and_closed(self):
        answer, _ = self.assert_arrives(Request(ODD_BODY, version="1.0"))
        self.assertTrue(answer.whole)

    def each_connections_are_kept_on_both_sides(self):
        client, server = self.pair()
        answers, connections = client.several([Request(chat_body(str(n))) for n in range(5)])
        self.assertEqual([PAYLOAD] * 5, [answer.body for answer in answers])
        self.sole_record(server, 5)
        self.assertEqual([chat_body(str(n)) for n in range(5)], [record.body for record in server.records])
        self.assertEqual((1, 1), (connections, len({record.connection for record in server.records})))


@expand
class Responses(Pair):
    def assert_relayed(self, part):
        client, _ = self.pair(part)
        answer = client.ask(Request(chat_body(), headers=("TE: trailers",)))
        self.assertEqual((200, PAYLOAD, True), (answer.status, answer.body, answer.whole))
        return answer

    @parts("stream")
    def each_stream_passes_unbuffered_and_byte_for_byte(self):
        client, server = self.pair("stream")
        exchange = client.begin(Request(STREAMED))
        exchange.see(EVENTS[0])  # before the server sends the second
        server.go.set()
        answer = exchange.answer()
        self.assertEqual((200, STREAM, True), (answer.status, answer.body, answer.whole))
        self.assertEqual("text/event-stream", answer.head.get("Content-Type"))

    @parts("stream")
    def each_stream_to_an_http_1_0_client_ends_with_the_connection(self):
        client, server = self.pair("stream")
        server.go.set()
        answer = client.ask(Request(STREAMED, version="1.0"))
        self.assertEqual((200, STREAM, None), (answer.status, answer.body, answer.head.get("Transfer-Encoding")))

    @parts("closing")
    def each_close_delimited_answer_passes(self):
        self.assert_relayed("closing")

    @parts("old")
    def each_http_1_0_answer_passes(self):
        self.assert_relayed("old")

    @parts("trailers")
    def each_trailer_passes(self):
        self.assertIn(TRAILER, self.assert_relayed("trailers").trailers)

    @parts("early")
    def each_interim_answer_is_not_the_answer(self):
        self.assert_relayed("early")

    @parts("none")
    def each_204_has_no_body_and_keeps_the_connection(self):
        self.assert_empty("none", 204)

    @parts("same")
    def each_304_has_no_body_and_keeps_the_connection(self):
        self.assert_empty("same", 304)

    def assert_empty(self, part, status):
        client, server = self.pair(part)
        answers, connections = client.several([Request(chat_body())] * 3)
        self.assertEqual([(status, b"")] * 3, [(answer.status, answer.body) for answer in answers])
        self.assertEqual(1, connections)
        self.sole_record(server, 3)

    def each_head_gets_a_head_and_keeps_the_connection(self):
        client, server = self.pair()
        request = Request(path="/v1/responses/7", method="HEAD")
        answers, connections = client.several([request, request])
        self.assertEqual([(200, b"")] * 2, [(answer.status, answer.body) for answer in answers])
        self.assertEqual(str(len(PAYLOAD)), answers[0].head.get("Content-Length"))
        self.assertEqual(1, connections)
        self.assertEqual("HEAD", self.sole_record(server, 2).method)


@expand
class SlowReaders(Pair):
    @parts("endless")
    def each_slow_reader_blocks_the_server_and_not_the_memory(self):
        client, server = self.pair()
        for _ in range(12):  # what both loops make once is made
            self.assertEqual(200, client.ask(Request(chat_body())).status)
        before = self.gw.rss_kib()
        server.part = "endless"
        client.begin(Request(STREAMED, slow=True))
        server.wait(server.blocked, "its send to block")
        if not SLOW_BUILD:
            self.assertLess(self.gw.rss_kib() - before, GROWTH_KIB)


@expand
class Disconnects(Pair):
    """The client goes; the server's socket sees the end, with nothing else to wake the gateway. A killed curl's end is
    a FIN, or a RST where something has come that it has not read."""

    def assert_let_go(self, part, prepare, *ways, slow=False):
        client, server = self.pair(part)
        for how in ways:
            with self.subTest(how):
                for event in (server.asked, server.blocked, server.gone, server.go):
                    event.clear()
                exchange = client.begin(Request(STREAMED, slow=slow))
                prepare(exchange, server)
                exchange.leave(how)
                server.wait(server.gone, f"the end, after {client.name} has left by {how}")

    @clients("raw")
    @parts("hang")
    def each_end_before_the_answer_lets_the_server_go(self):
        self.assert_let_go("hang", self.asked, "fin", "rst", "half")

    @clients("curl")
    @parts("hang")
    def each_kill_before_the_answer_lets_the_server_go(self):
        self.assert_let_go("hang", self.asked, "fin")

    @clients("raw")
    @parts("dying")
    def each_end_during_the_answer_lets_the_server_go(self):
        self.assert_let_go("dying", self.first_event, "fin", "rst", "half")

    @clients("curl")
    @parts("dying")
    def each_kill_during_the_answer_lets_the_server_go(self):
        self.assert_let_go("dying", self.first_event, "fin")

    @clients("curl")
    @parts("endless")
    def each_kill_with_unread_events_lets_the_server_go(self):
        def frozen(exchange, _):
            exchange.see(b"data: ")
            exchange.freeze()
        self.assert_let_go("endless", frozen, "rst")

    @clients("raw")
    @parts("endless")
    def each_end_while_reading_is_paused_lets_the_server_go(self):
        self.assert_let_go("endless", self.blocked, "half", "rst", slow=True)

    @clients("curl")
    @parts("endless")
    def each_kill_while_reading_is_paused_lets_the_server_go(self):
        self.assert_let_go("endless", self.blocked, "rst", slow=True)

    @staticmethod
    def asked(_, server):
        server.wait(server.asked, "the request")

    @staticmethod
    def first_event(exchange, _):
        exchange.see(EVENTS[0])

    @staticmethod
    def blocked(_, server):
        server.wait(server.blocked, "its send to block")


if __name__ == "__main__":
    unittest.main()
