"""What goes in comes out: bodies byte for byte, streams without buffering, every framing, connections kept.

Longer than 400 lines: one list of what must pass unchanged.
"""

import hashlib
import threading
import unittest

from harness import LAST_CHUNK, SSE_HEAD, Client, Scenario, chat_body, chunk, get, json_response, post

ODD_BODY = ('{ "model" :\t"llama-3-8b",\r\n "messages":[{"role":"user","content":"\\u00e9\\ud83c\\udf0a \u00e9"}],'
            ' "temperature":1e-1,"seed": 00}'.replace("00", "0") + "\n\n ").encode()


class Relay(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()
        self.gw = self.gateway(self.engine)

    def ask(self, request):
        """(client, the engine's connection, the request as the engine saw it)"""
        client = self.client(self.gw)
        client.send(request)
        connection = self.engine.accept()
        return client, connection, connection.read_message()


class Requests(Relay):
    def test_the_body_arrives_byte_for_byte(self):
        _, _, seen = self.ask(post(ODD_BODY))
        self.assertEqual(ODD_BODY, seen.body)

    def test_a_large_body_arrives_byte_for_byte(self):
        body = chat_body("".join(chr(33 + i % 90) for i in range(3_000_000)))
        _, _, seen = self.ask(post(body))
        self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(seen.body).digest())

    def test_a_chunked_body_arrives_byte_for_byte_with_one_framing(self):
        pieces = b"".join(chunk(ODD_BODY[i:i + 7]) for i in range(0, len(ODD_BODY), 7))
        _, _, seen = self.ask(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"
                              b"Transfer-Encoding: chunked\r\n\r\n" + pieces + LAST_CHUNK)
        self.assertEqual(ODD_BODY, seen.body)
        self.assertEqual(1, len(seen.head.all("Content-Length")) + len(seen.head.all("Transfer-Encoding")))

    def test_a_body_that_trickles_in_arrives_byte_for_byte(self):
        client = self.client(self.gw)
        request = post(ODD_BODY)
        for i in range(len(request)):
            client.send(request[i:i + 1])
        self.assertEqual(ODD_BODY, self.engine.accept().read_message().body)

    def test_target_and_query_arrive_as_they_were_sent(self):
        _, _, seen = self.ask(post(chat_body(), path="/v1/chat/completions?a=%2F&b=c%20d"))
        self.assertEqual("POST /v1/chat/completions?a=%2F&b=c%20d HTTP/1.1", seen.head.start)

    def test_headers_of_the_client_pass_and_those_of_the_hop_do_not(self):
        _, _, seen = self.ask(post(chat_body(), headers=[
            "Authorization: Bearer secret", "X-Custom: a  b", "X-Custom: c", "Connection: keep-alive, X-Hop",
            "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers",
            "Upgrade: websocket"]))
        head = seen.head
        self.assertEqual(["Bearer secret"], head.all("Authorization"))
        self.assertEqual(["a  b", "c"], head.all("X-Custom"))
        self.assertEqual(["application/json"], head.all("Content-Type"))
        for hop in ("X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade"):
            self.assertEqual([], head.all(hop), hop)

    def test_host_is_the_engines_and_forwarded_headers_tell_the_client(self):
        _, _, seen = self.ask(post(chat_body()))
        self.assertEqual([f"127.0.0.1:{self.engine.port}"], seen.head.all("Host"))
        self.assertEqual("127.0.0.1", seen.head.get("X-Forwarded-For"))
        self.assertEqual("http", seen.head.get("X-Forwarded-Proto"))

    def test_a_request_id_is_kept_or_made(self):
        _, _, seen = self.ask(post(chat_body(), headers=["X-Request-Id: mine"]))
        self.assertEqual(["mine"], seen.head.all("X-Request-Id"))
        _, _, seen = self.ask(post(chat_body()))
        self.assertTrue(seen.head.get("X-Request-Id"))

    def test_forwarded_headers_of_a_proxy_before_us_are_continued(self):
        _, _, seen = self.ask(post(chat_body(), headers=["X-Forwarded-For: 10.0.0.1, 10.0.0.2",
                                                         "X-Forwarded-Proto: https", "X-Forwarded-Host: example.org"]))
        self.assertEqual(["10.0.0.1, 10.0.0.2, 127.0.0.1"], seen.head.all("X-Forwarded-For"))
        self.assertEqual(["http"], seen.head.all("X-Forwarded-Proto"), "how the client came to us")
        self.assertEqual(["example.org"], seen.head.all("X-Forwarded-Host"))

    def test_a_trace_is_continued_or_begun(self):
        mine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        _, _, seen = self.ask(post(chat_body(), headers=[f"traceparent: {mine}", "tracestate: a=b"]))
        self.assertEqual(([mine], ["a=b"]), (seen.head.all("traceparent"), seen.head.all("tracestate")))
        for other in ([], ["traceparent: 00-0-0-01"]):
            _, _, seen = self.ask(post(chat_body(), headers=other))
            (made,) = seen.head.all("traceparent")
            self.assertRegex(made, "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$")
            self.assertNotEqual(mine, made)

    def test_engines_are_not_asked_for_what_cant_be_watched(self):
        for wanted in ([], ["Accept-Encoding: gzip, br"]):
            _, _, seen = self.ask(post(chat_body(), headers=wanted))
            self.assertEqual(["identity"], seen.head.all("Accept-Encoding"))

    def test_no_authorization_is_invented(self):
        _, _, seen = self.ask(post(chat_body()))
        self.assertEqual([], seen.head.all("Authorization"))

    def test_expect_continue_is_answered_and_the_body_waited_for(self):
        client = self.client(self.gw)
        body = chat_body()
        client.send(post(body, headers=["Expect: 100-continue"])[:-len(body)])
        self.assertEqual(100, client.read_head().status)
        client.send(body)
        connection = self.engine.accept()
        seen = connection.read_message()
        self.assertEqual(body, seen.body)
        self.assertEqual([], seen.head.all("Expect"))
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)


class Responses(Relay):
    def test_every_framing_gives_the_same_body(self):
        forms = {
            "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", False),
            "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hello ")
                        + chunk(b"world") + LAST_CHUNK, False),
            "chunks with extensions": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                       b"b;a=b\r\nhello world\r\n0;c\r\n\r\n", False),
            "close-delimited": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world", True),
            "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello world", True),
            "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nhello world", True),
        }
        for name, (response, close) in forms.items():
            with self.subTest(name):
                client, connection, _ = self.ask(post(chat_body()))
                connection.send(response)
                if close:
                    connection.close()
                answer = client.read_message()
                self.assertEqual((200, b"hello world"), (answer.status, answer.body))
                connection.close()

    def test_bytes_of_any_kind_pass(self):
        body = bytes(range(256)) * 1000
        client, connection, _ = self.ask(post(chat_body()))
        connection.send(json_response(body))
        self.assertEqual(body, client.read_message().body)

    def test_status_and_headers_pass_and_those_of_the_hop_do_not(self):
        client, connection, _ = self.ask(post(chat_body()))
        connection.send(json_response(b"{}", b"418 I'm a teapot", [
            b"X-Custom: a  b", b"Set-Cookie: c=1", b"Set-Cookie: d=2", b"Keep-Alive: timeout=5",
            b"Connection: keep-alive, X-Hop", b"X-Hop: 1"]))
        head = client.read_message().head
        self.assertEqual(418, head.status)
        self.assertEqual(["a  b"], head.all("X-Custom"))
        self.assertEqual(["c=1", "d=2"], head.all("Set-Cookie"))
        for hop in ("X-Hop", "Keep-Alive"):
            self.assertEqual([], head.all(hop), hop)

    def test_an_empty_body_passes(self):
        client, connection, _ = self.ask(post(chat_body()))
        connection.send(json_response(b""))
        self.assertEqual(b"", client.read_message().body)

    def test_204_has_no_body(self):
        client, connection, _ = self.ask(post(chat_body()))
        connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(204, client.read_message().status)

    def test_answers_without_a_body_pass_and_keep_the_connection(self):
        """A length of what is not sent is no promise of bytes; a 204 has none at all."""
        forms = ((post(chat_body()), b"304 Not Modified", b"Content-Length: 12", "12"),
                 (post(chat_body()), b"304 Not Modified", b"X-A: b", None),
                 (post(chat_body()), b"204 No Content", b"Content-Length: 0", None),
                 (post(chat_body()), b"204 No Content", b"Content-Length: 3", None),
                 (post(chat_body()), b"200 OK", b"Content-Length: 0", "0"),
                 (get("/v1/responses/r1", "HEAD"), b"200 OK", b"Content-Length: 12", "12"),
                 (get("/v1/responses/r1", "HEAD"), b"200 OK", b"Transfer-Encoding: chunked", None))
        for request, status, length, expected in forms:
            with self.subTest((status, length)):
                client = self.client(self.gw)
                client.send(request)
                connection = self.engine.next_connection()
                self.assertEqual(request[:4], connection.read_message().head.raw[:4])
                connection.send(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n" + length + b"\r\n\r\n")
                head = client.read_head()
                self.assertEqual((int(status[:3]), "x", expected),
                                 (head.status, head.get("ETag"), head.get("Content-Length")))
                client.send(post(chat_body("next")))
                connection = self.engine.next_connection()
                self.assertEqual(chat_body("next"), connection.read_message().body)
                connection.send(json_response(b'{"n":2}'))
                self.assertEqual(b'{"n":2}', client.read_message().body, "nothing stands between the answers")

    def test_what_the_gateway_says_of_itself_no_engine_can_forge(self):
        client, connection, _ = self.ask(post(chat_body(), headers=["X-Request-Id: mine", "X-Tidegate-Route: 1"]))
        connection.send(json_response(headers=[b"x-request-id: the engine's", b"X-Tidegate-Route: forged"]))
        head = client.read_message().head
        self.assertEqual(["mine"], head.all("X-Request-Id"))
        self.assertEqual(1, len(head.all("X-Tidegate-Route")))
        self.assertIn("policy=", head.get("X-Tidegate-Route"))

    def test_interim_answers_are_not_the_answer(self):
        client, connection, _ = self.ask(post(chat_body()))
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                        + json_response(b'{"final":1}'))
        head = client.read_head()
        while head.status < 200:
            head = client.read_head()
        self.assertEqual(b'{"final":1}', client.read_exactly(int(head.get("Content-Length"))))

    def test_trailers_pass(self):
        client, connection, _ = self.ask(post(chat_body(), headers=["TE: trailers"]))
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                        + chunk(b"hello") + b"0\r\nX-Sum: 42\r\n\r\n")
        answer = client.read_message()
        self.assertEqual((b"hello", b"X-Sum: 42\r\n"), (answer.body, answer.trailer))

    def test_bytes_behind_a_response_never_become_the_next_one(self):
        client, connection, _ = self.ask(post(chat_body()))
        connection.send(json_response(b'{"n":1}') + json_response(b'{"forged":1}'))
        self.assertEqual(b'{"n":1}', client.read_message().body)
        client.send(post(chat_body()))
        fresh = self.engine.accept()
        fresh.read_message()
        fresh.send(json_response(b'{"n":2}'))
        self.assertEqual(b'{"n":2}', client.read_message().body)

    def test_an_answer_before_the_body_was_sent_is_the_answer(self):
        client = self.client(self.gw)
        body = chat_body("x" * 8_000_000)
        sender = threading.Thread(target=lambda: client.send(post(body)))
        sender.start()
        connection = self.engine.accept()
        connection.read_head()
        connection.send(json_response(b'{"error":"too long"}', b"400 Bad Request", [b"Connection: close"]))
        answer = client.read_message()
        self.assertEqual((400, b'{"error":"too long"}'), (answer.status, answer.body))
        connection.close()
        sender.join()


FIRST = b'data: {"n":0}\n\n'


class Streams(Relay):
    def begin(self, request=None):
        """A stream whose head and first event have come through: the head leaves with the first piece of body."""
        client, connection, _ = self.ask(request or post(chat_body(stream=True)))
        connection.send(SSE_HEAD + chunk(FIRST))
        self.head = client.read_head()
        return client, connection

    def test_the_head_comes_with_the_first_event_and_before_the_second(self):
        client, _ = self.begin()
        self.assertEqual("text/event-stream", self.head.get("Content-Type"))
        self.assertEqual("chunked", self.head.get("Transfer-Encoding"))
        self.assertEqual(FIRST, client.read_chunk())

    def test_each_event_comes_before_the_next_is_sent(self):
        client, connection = self.begin()
        client.read_chunk()
        for number in range(200):
            event = b"data: {\"n\":%d}\n\n" % number
            connection.send(chunk(event))
            self.assertEqual(event, client.read_body_bytes(len(event)))
        connection.send(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        self.assertEqual(b"data: [DONE]\n\n", client.read_chunked_rest()[0])

    def test_a_piece_of_an_event_does_not_wait_for_the_rest(self):
        client, connection = self.begin()
        client.read_chunk()
        for byte in b'data: {"slow":true}\n\n':
            connection.send(chunk(bytes([byte])))
            self.assertEqual(bytes([byte]), client.read_chunk())

    def test_a_piece_of_a_chunk_does_not_wait_for_the_rest(self):
        client, connection = self.begin()
        client.read_chunk()
        connection.send(b"6\r\ndat")
        self.assertEqual(b"dat", client.read_body_bytes(3))
        connection.send(b"a: ")
        self.assertEqual(b"a: ", client.read_body_bytes(3))
        connection.send(b"\r\n" + LAST_CHUNK)
        self.assertEqual(b"", client.read_chunked_rest()[0])

    def test_the_end_of_the_stream_does_not_wait_for_the_engine_to_close(self):
        client, connection = self.begin()
        connection.send(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        self.assertEqual(FIRST + b"data: [DONE]\n\n", client.read_chunked_rest()[0])
        self.assertTrue(connection.is_quiet())

    def test_a_close_delimited_stream_is_not_buffered(self):
        client, connection, _ = self.ask(post(chat_body(stream=True)))
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + FIRST)
        client.read_head()
        self.assertEqual(FIRST, client.read_chunk())
        for number in range(20):
            connection.send(b"data: %d\n\n" % number)
            self.assertEqual(b"data: %d\n\n" % number, client.read_chunk())
        connection.close()
        self.assertEqual(b"", client.read_chunked_rest()[0])

    def test_an_http_1_0_client_gets_a_stream_that_ends_by_close(self):
        body = chat_body(stream=True)
        client, connection = self.begin(b"POST /v1/chat/completions HTTP/1.0\r\nHost: gateway\r\n"
                                        b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.assertIsNone(self.head.get("Transfer-Encoding"))
        self.assertEqual(FIRST, client.read_exactly(len(FIRST)))
        connection.send(chunk(b"data: 1\n\n"))
        self.assertEqual(b"data: 1\n\n", client.read_exactly(9))
        connection.send(LAST_CHUNK)
        self.assertEqual(b"", client.read_to_eof())

    def test_a_media_type_is_known_in_any_case(self):
        client, connection, _ = self.ask(post(chat_body(stream=True)))
        connection.send(SSE_HEAD.replace(b"text/event-stream", b"Text/Event-Stream; charset=utf-8")
                        + chunk(b"data: 1\n\ndata: ha"))
        client.read_head()
        self.assertEqual(b"data: 1\n\ndata: ha", client.read_body_bytes(17))
        connection.reset()
        self.assertIn(b"error", client.read_chunked_rest()[0], "only a stream of events can be told")

    def test_comments_and_odd_line_ends_pass_untouched(self):
        odd = b": ping\r\n\r\nevent: x\r\ndata: a\r\ndata: b\r\n\r\nid: 1\rdata: c\r\r: end\n\n"
        client, connection = self.begin()
        connection.send(chunk(odd) + LAST_CHUNK)
        self.assertEqual(FIRST + odd, client.read_chunked_rest()[0])


class Connections(Relay):
    def test_the_clients_and_the_engines_connection_are_kept(self):
        client, connection, _ = self.ask(post(chat_body("one")))
        connection.send(json_response(b'{"n":1}'))
        self.assertEqual(b'{"n":1}', client.read_message().body)
        client.send(post(chat_body("two")))
        self.assertEqual(chat_body("two"), connection.read_message().body)
        connection.send(json_response(b'{"n":2}'))
        self.assertEqual(b'{"n":2}', client.read_message().body)

    def test_both_are_kept_behind_a_stream(self):
        client, connection, _ = self.ask(post(chat_body(stream=True)))
        connection.send(SSE_HEAD + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        client.read_message()
        client.send(post(chat_body("two")))
        self.assertEqual(chat_body("two"), connection.read_message().body)

    def test_a_client_that_asks_for_close_gets_it(self):
        client, connection, _ = self.ask(post(chat_body(), headers=["Connection: close"]))
        connection.send(json_response())
        answer = client.read_message()
        self.assertEqual("close", (answer.head.get("Connection") or "").lower())
        self.assertEqual(b"", client.read_to_eof())

    def test_an_engine_that_asks_for_close_is_not_used_again(self):
        client, connection, _ = self.ask(post(chat_body("one")))
        connection.send(json_response(headers=[b"Connection: close"]))
        self.assertEqual(200, client.read_message().status)
        self.assertEqual("fin", connection.wait_closed())
        client.send(post(chat_body("two")))
        self.assertEqual(chat_body("two"), self.engine.accept().read_message().body)

    def test_pipelined_requests_are_answered_in_order(self):
        client = self.client(self.gw)
        client.send(post(chat_body("one")) + post(chat_body("two")) + get("/nowhere"))
        connection = self.engine.accept()
        for word in ("one", "two"):
            self.assertEqual(chat_body(word), connection.read_message().body)
            connection.send(json_response(b'{"to":"%s"}' % word.encode()))
        self.assertEqual(b'{"to":"one"}', client.read_message().body)
        self.assertEqual(b'{"to":"two"}', client.read_message().body)
        self.assertEqual(404, client.read_message().status)

    def test_an_http_1_0_client_is_answered_and_closed(self):
        body = chat_body()
        client, connection, seen = self.ask(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n"
                                            % len(body) + body)
        self.assertEqual(body, seen.body)
        connection.send(json_response(b'{"n":1}'))
        self.assertEqual(b'{"n":1}', client.read_message().body)
        self.assertEqual(b"", client.read_to_eof())

    def test_models_are_listed_from_the_fleet(self):
        answer = self.client(self.gw).exchange(get("/v1/models"))
        self.assertEqual(["llama-3-8b"], [model["id"] for model in answer.json()["data"]])
        self.assertEqual("list", answer.json()["object"])

    def test_head_gets_the_head_of_get_and_keeps_the_connection(self):
        client = self.client(self.gw)
        head = client.exchange(get("/v1/models", "HEAD"))
        whole = client.exchange(get("/v1/models"))
        self.assertEqual((200, 200), (head.status, whole.status))
        self.assertEqual(str(len(whole.body)), head.head.get("Content-Length"))

    def test_two_clients_do_not_wait_for_each_other(self):
        first, slow, _ = self.ask(post(chat_body("one")))
        second = Client(self.gw.port)
        second.send(post(chat_body("two")))
        other = self.engine.accept()
        other.read_message()
        other.send(json_response(b'{"n":2}'))
        self.assertEqual(b'{"n":2}', second.read_message().body)
        slow.send(json_response(b'{"n":1}'))
        self.assertEqual(b'{"n":1}', first.read_message().body)
        second.close()


if __name__ == "__main__":
    unittest.main()
