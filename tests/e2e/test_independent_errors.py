"""Bad requests, bad servers, doubtful bytes, over every pair of a client and a server (peer_pairs.py)."""

import contextlib
import json
import unittest

import test_smuggling as forms
from harness import LAST_CHUNK, Client, chat_body, chunk, post, sse_events, wait_for
from peer_clients import Request
from peer_pairs import LARGE_BODY, ODD_BODY, STREAMED, Pair, clients, expand, parts
from peer_servers import EVENTS, PAYLOAD

SHORT = {"first_byte_timeout": "300ms", "connect_timeout": "300ms"}


@expand
class Refusals(Pair):
    """The client learns why; the server is not asked."""

    def assert_refused(self, request, status, code=None, **config):
        client, server = self.pair(**config)
        answer = client.ask(request)
        self.assert_envelope(answer, status, code)
        sentinel = chat_body("sentinel")
        self.assertEqual(200, client.ask(Request(sentinel)).status)
        self.assertEqual(sentinel, self.sole_record(server).body)
        return answer

    def each_invalid_json_is_400(self):
        self.assert_refused(Request(b'{"model": '), 400, "invalid_json")

    def each_member_that_stands_twice_is_400(self):
        self.assert_refused(Request(b'{"model":"llama-3-8b","model":"b","messages":[]}'), 400, "duplicate_member")

    def each_malformed_header_is_400(self):
        self.assert_refused(Request(chat_body(), headers=("X-Odd: a\x01b",)), 400)

    def each_unknown_model_is_404(self):
        self.assert_refused(Request(b'{"model":"gpt-9","messages":[]}'), 404, "model_not_found")

    def each_unknown_path_is_404(self):
        self.assert_refused(Request(path="/nowhere", method="GET"), 404, "not_found")

    def each_oversized_body_is_413(self):
        self.assert_refused(Request(LARGE_BODY), 413, server={"max_body": "4KiB"})

    def each_oversized_body_is_413_before_it_is_sent(self):
        answer = self.assert_refused(Request(LARGE_BODY, expect=True), 413, server={"max_body": "4KiB"})
        self.assertNotIn(100, answer.interim)

    def each_oversized_chunked_body_is_413(self):
        self.assert_refused(Request(LARGE_BODY, chunked=True), 413, server={"max_body": "4KiB"})

    def each_oversized_head_is_431(self):
        self.assert_refused(Request(chat_body(), headers=("X-Long: " + "a" * 9000,)), 431, "head_too_large",
                            server={"max_head": "8KiB"})

    def each_stalled_upload_is_408(self):
        self.assert_refused(Request(LARGE_BODY, stall=True), 408, "request_body_stalled",
                            server={"timeouts": {"body": "300ms"}})

    def each_stalled_chunked_upload_is_408(self):
        self.assert_refused(Request(LARGE_BODY, stall=True, chunked=True), 408, "request_body_stalled",
                            server={"timeouts": {"body": "300ms"}})

    def each_fleet_that_is_down_is_503_with_retry_after(self):
        server = self.server()
        client = self.between(server, health={"enabled": True, "interval": "50ms", "timeout": "500ms",
                                              "failures": 1, "successes": 1})
        server.stop()
        wait_for(lambda: self.gw.control("/readiness")[0] == 503, "readiness to fall")
        answer = client.ask(Request(chat_body()))
        self.assert_envelope(answer, 503, "no_available_workers")
        self.assertGreaterEqual(int(answer.head.get("Retry-After")), 1)


@expand
class Failures(Pair):
    def assert_retried(self, spoil, body=ODD_BODY):
        """One of two servers is spoilt; whoever is asked first, every request is answered by the good one."""
        bad, good = self.server(), self.server()
        client = self.between(bad, good, routes=[{"match": {"model": "*"}, "policy": "round_robin"}])
        spoil(bad)
        answers, _ = client.several([Request(body)] * 4)
        self.assertEqual([(200, PAYLOAD)] * 4, [(answer.status, answer.body) for answer in answers])
        self.sole_record(good, 4)
        self.assertEqual({body}, {record.body for record in good.records})
        return bad

    def each_refused_connection_is_tried_elsewhere(self):
        self.assert_retried(lambda server: server.stop())

    @parts("reset")
    def each_reset_before_the_first_byte_is_tried_elsewhere(self):
        bad = self.assert_retried(lambda server: setattr(server, "part", "reset"))
        self.assertTrue(bad.records, "the bad one was never asked")

    @parts("garbage")
    def each_garbage_is_tried_elsewhere(self):
        bad = self.assert_retried(lambda server: setattr(server, "part", "garbage"))
        self.assertTrue(bad.records, "the bad one was never asked")

    @parts("hang")
    def each_hung_server_is_504_and_let_go(self):
        client, server = self.pair("hang", upstream=SHORT)
        self.assert_envelope(client.ask(Request(chat_body())), 504, "upstream_timeout")
        server.wait(server.gone, "the gateway to let it go")

    @parts("garbage")
    def each_garbage_is_502(self):
        client, _ = self.pair("garbage")
        self.assert_envelope(client.ask(Request(chat_body())), 502, "upstream_invalid_response")

    @parts("reset")
    def each_reset_is_502(self):
        client, _ = self.pair("reset")
        self.assert_envelope(client.ask(Request(chat_body())), 502, "upstream_reset")

    @parts("dying")
    def each_death_within_a_stream_is_an_error_event(self):
        client, server = self.pair("dying")
        exchange = client.begin(Request(STREAMED))
        exchange.see(EVENTS[0])
        server.go.set()
        answer = exchange.answer()
        self.assertTrue(answer.body.startswith(EVENTS[0]), answer)
        events = sse_events(answer.body)
        self.assertEqual(2, len(events), events)
        self.assertTrue(json.loads(events[1])["error"]["message"])


@expand
class Smuggling(Pair):
    """The doubtful bytes are ours, the witness is not: its record has exactly the honest requests."""

    def assert_unseen(self, doubtful, statuses):
        _, server = self.pair()
        for name, attack in doubtful.items():
            with self.subTest(name), contextlib.closing(Client(self.gw.port)) as client:
                try:
                    client.send(attack)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # refused before all of it was taken
                self.assertIn(client.read_message().status, statuses)
                client.finish_sending()
                self.assertEqual(b"", client.read_to_eof(), "bytes behind the answer")
        honest = chat_body("honest")
        self.assertEqual(200, self.client(self.gw).exchange(post(honest)).status)
        self.assertEqual(honest, self.sole_record(server).body)

    @clients("raw")
    def each_doubtful_length_is_unseen(self):
        self.assert_unseen(forms.LENGTHS, (400,))

    @clients("raw")
    def each_doubtful_coding_is_unseen(self):
        self.assert_unseen(forms.CODINGS, (400,))

    @clients("raw")
    def each_doubtful_line_is_unseen(self):
        self.assert_unseen(forms.LINES, (400,))

    @clients("raw")
    def each_doubtful_request_line_is_unseen(self):
        self.assert_unseen(forms.TARGETS, (400, 404, 405, 505))

    @clients("raw")
    def each_doubtful_chunk_is_unseen(self):
        self.assert_unseen(forms.CHUNKS, (400, 413))

    @clients("raw")
    def each_odd_but_clear_form_is_one_request(self):
        _, server = self.pair()
        body = forms.BODY
        odd = [b"\r\n\r\n" + forms.with_length(),
               forms.head(b"Content-Length: 000%d" % len(body)) + body,
               forms.head(b"TRANSFER-ENCODING: CHUNKED") + chunk(body) + LAST_CHUNK,
               forms.chunked(b'%x;a=b;c="d e"\r\n%s\r\n0;e=f\r\n\r\n' % (len(body), body)),
               forms.chunked(chunk(body) + b"0\r\nX-Checksum: 1\r\n\r\n"),
               forms.with_length(b"Connection: Content-Length"),
               forms.with_length(b"Content_Length: 0", b"Transfer_Encoding: chunked")]
        seen = 0
        for request in odd:
            with self.subTest(request):
                status = self.client(self.gw).exchange(request).status
                self.assertIn(status, (200, 400))
                seen += status == 200
                self.sole_record(server, seen)
        self.assertEqual({body}, {record.body for record in server.records})


if __name__ == "__main__":
    unittest.main()
