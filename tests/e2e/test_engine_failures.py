"""Engines that fail: before the first byte another worker is tried, after it the client is told, never left."""

import json
import socket
import unittest

from harness import (SSE_HEAD, Client, Closed, Scenario, accept_any, chat_body, chunk, free_port,
                     json_response, post, sse_events)

BODY = chat_body()
STREAM = chat_body(stream=True)
SHORT = {"first_byte_timeout": "300ms", "idle_timeout": "300ms", "connect_timeout": "300ms"}


class OneEngine(Scenario):
    """Nobody else to ask: the client gets an answer that says what went wrong."""

    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()

    def ask(self, body=BODY, **config):
        """(client, the engine's connection with the request read)"""
        gateway = self.gateway(self.engine, config=config)
        client = self.client(gateway)
        client.send(post(body))
        connection = self.engine.accept()
        connection.read_message()
        return client, connection

    def test_refused_is_502(self):
        gateway = self.gateway(f"http://127.0.0.1:{free_port()}")
        answer = self.client(gateway).exchange(post(BODY))
        self.assert_error(answer, 502, "upstream_connect_failed")

    def test_reset_before_the_head_is_502(self):
        client, connection = self.ask()
        connection.reset()
        self.assert_error(client.read_message(), 502, "upstream_reset")

    def test_closed_before_the_head_is_502(self):
        client, connection = self.ask()
        connection.close()
        self.assert_error(client.read_message(), 502)

    def test_closed_inside_the_head_is_502(self):
        client, connection = self.ask()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le").close()
        self.assert_error(client.read_message(), 502)

    def test_hung_before_the_head_is_504_and_the_engine_is_let_go(self):
        client, connection = self.ask(upstream=SHORT)
        self.assert_error(client.read_message(), 504, "upstream_timeout")
        connection.wait_closed()

    def test_hung_inside_the_head_is_504(self):
        client, connection = self.ask(upstream=SHORT)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        self.assert_error(client.read_message(), 504, "upstream_timeout")

    def test_garbage_is_502_and_the_engine_is_let_go(self):
        for garbage in (b"ICY 200 OK\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                        b"HTTP/1.1 999999 Odd\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n", b"\r\n\r\n\r\n\r\n"):
            with self.subTest(garbage):
                client, connection = self.ask()
                connection.send(garbage)
                self.assert_error(client.read_message(), 502, "upstream_invalid_response")
                connection.wait_closed()

    def test_doubtful_framing_of_a_response_is_502(self):
        for lines in (b"Content-Length: 2\r\nContent-Length: 3", b"Content-Length: 2\r\nTransfer-Encoding: chunked",
                      b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding:\r\n chunked",
                      b"Content-Length: -2", b"X-A: on\0e\r\nContent-Length: 2"):
            with self.subTest(lines):
                client, connection = self.ask()
                connection.send(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n{}")
                self.assert_error(client.read_message(), 502, "upstream_invalid_response")
                connection.wait_closed()

    def test_a_protocol_switch_nobody_asked_for_is_502(self):
        client, connection = self.ask()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        self.assert_error(client.read_message(), 502)

    def test_an_endless_head_is_502(self):
        client, connection = self.ask()
        try:
            connection.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the gateway has seen enough
        self.assert_error(client.read_message(), 502)

    def test_a_body_cut_short_never_looks_complete(self):
        for head, sent in ((b"Content-Length: 10", b"12345"), (b"Transfer-Encoding: chunked", b"5\r\n12345\r\n"),
                           (b"Transfer-Encoding: chunked", b"a\r\n12345")):
            with self.subTest(head):
                client, connection = self.ask()
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + head + b"\r\n\r\n" + sent)
                self.assertEqual(200, client.read_head().status)
                connection.close()
                with self.assertRaises(Closed):
                    client.read_chunked_rest() if b"chunked" in head else client.read_exactly(10)

    def test_chunks_that_are_none_never_look_complete(self):
        client, connection = self.ask()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                        + chunk(b"hello"))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"hello", client.read_chunk())
        connection.send(b"nonsense\r\n")
        with self.assertRaises(Closed):
            client.read_chunked_rest()


class MidStream(Scenario):
    """An engine that dies within a stream of events: what has come, an error event, the end."""

    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()

    def stream_then(self, last_words, end, kept=False, **config):
        """The stream's data as the client got it, with its framing intact; then the connection is closed, or kept."""
        gateway = self.gateway(self.engine, config=config)
        client = self.client(gateway)
        client.send(post(STREAM))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(SSE_HEAD + chunk(b'data: {"token":1}\n\n'))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b'data: {"token":1}\n\n', client.read_chunk())
        connection.send(last_words)
        if last_words:
            client.sock.recv(1, socket.MSG_PEEK)  # it has come through, so that a reset can't overtake it
        end(connection)
        data, _ = client.read_chunked_rest()
        if kept:
            self.assertEqual(404, client.exchange(post(BODY, path="/nowhere")).status, "the connection is kept")
        else:
            self.assertEqual(b"", client.read_to_eof(), "the connection is closed behind a broken stream")
        return data

    def assert_error_event(self, event, code=None):
        error = json.loads(event)["error"]
        self.assertTrue(error["message"])
        if code:
            self.assertEqual(code, error["code"])

    def test_reset_gives_an_error_event_and_the_end(self):
        events = sse_events(self.stream_then(b"", lambda connection: connection.reset()))
        self.assertEqual(1, len(events))
        self.assert_error_event(events[0])

    def test_fin_before_the_last_chunk_gives_an_error_event_and_the_end(self):
        events = sse_events(self.stream_then(b"", lambda connection: connection.close()))
        self.assertEqual(1, len(events))
        self.assert_error_event(events[0])

    def test_silence_beyond_the_idle_limit_gives_an_error_event_and_lets_the_engine_go(self):
        events = sse_events(self.stream_then(b"", lambda connection: connection.wait_closed(), upstream=SHORT))
        self.assertEqual(1, len(events))
        self.assert_error_event(events[0], "upstream_timeout")

    def test_an_open_line_is_closed_before_the_error_event(self):
        data = self.stream_then(chunk(b'data: {"token":'), lambda connection: connection.reset())
        self.assertTrue(data.startswith(b'data: {"token":\n'), data)
        self.assert_error_event(sse_events(data)[-1])

    def test_an_open_event_is_closed_before_the_error_event(self):
        data = self.stream_then(chunk(b'data: {"token":2}\n'), lambda connection: connection.reset())
        events = sse_events(data)
        self.assertEqual(b'{"token":2}', events[0])
        self.assert_error_event(events[1])

    def test_a_chunk_cut_short_is_passed_on_as_far_as_it_came(self):
        data = self.stream_then(b'20\r\ndata: {"tok', lambda connection: connection.close())
        self.assertTrue(data.startswith(b'data: {"tok\n'), data)
        self.assert_error_event(sse_events(data)[-1])

    def test_broken_chunks_give_an_error_event(self):
        data = self.stream_then(b"", lambda connection: connection.send(b"nonsense\r\n"))
        self.assert_error_event(sse_events(data)[-1])

    def test_a_stream_that_said_done_and_then_broke_off_gets_no_second_end(self):
        data = self.stream_then(chunk(b"data: [DONE]\n\n"), lambda connection: connection.reset(), kept=True)
        self.assertEqual([b"[DONE]"], sse_events(data))

    def test_a_close_delimited_stream_ends_well_by_fin(self):
        gateway = self.gateway(self.engine)
        client = self.client(gateway)
        client.send(post(STREAM))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").close()
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"data: 1\n\n", client.read_chunked_rest()[0])

    def test_a_close_delimited_stream_that_is_reset_gets_an_error_event(self):
        gateway = self.gateway(self.engine)
        client = self.client(gateway)
        client.send(post(STREAM))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"data: 1\n\n", client.read_chunk())
        connection.reset()
        self.assert_error_event(sse_events(client.read_chunked_rest()[0])[-1])


class OtherWorkers(Scenario):
    """Before the first byte another worker is asked, each one once."""

    def setUp(self):
        super().setUp()
        self.engines = [self.raw_engine(f"engine{i}") for i in range(3)]

    def fail_until_served(self, fail, count, body=BODY, **config):
        """Lets the first `count` engines that are asked fail; the next one answers. Who was asked, in order."""
        gateway = self.gateway(*self.engines, config=config)
        client = self.client(gateway)
        client.send(post(body))
        asked = []
        for _ in range(count + 1):
            engine, connection = accept_any(self.engines)
            asked.append(engine)
            request = connection.read_message()
            self.assertEqual(body, request.body, "each worker gets the same bytes")
            if len(asked) <= count:
                fail(connection)
        connection.send(json_response(b'{"by":"the last"}'))
        answer = client.read_message()
        self.assertEqual((200, b'{"by":"the last"}'), (answer.status, answer.body))
        return asked

    def test_a_reset_is_tried_on_a_worker_not_yet_tried(self):
        asked = self.fail_until_served(lambda connection: connection.reset(), 2)
        self.assertEqual(3, len(set(asked)))

    def test_a_hung_worker_is_given_up_for_another(self):
        asked = self.fail_until_served(lambda connection: None, 1, upstream=SHORT)
        self.assertEqual(2, len(set(asked)))

    def test_garbage_is_tried_elsewhere(self):
        asked = self.fail_until_served(lambda connection: connection.send(b"nonsense\r\n\r\n"), 1)
        self.assertEqual(2, len(set(asked)))

    def test_an_answer_503_is_tried_elsewhere(self):
        asked = self.fail_until_served(
            lambda connection: connection.send(json_response(status=b"503 Service Unavailable")), 2)
        self.assertEqual(3, len(set(asked)))

    def test_a_head_without_a_byte_of_body_is_tried_elsewhere(self):
        def fail(connection):
            connection.send(SSE_HEAD).close()
        asked = self.fail_until_served(fail, 1, body=STREAM)
        self.assertEqual(2, len(set(asked)))

    def test_a_stream_that_has_not_begun_is_tried_elsewhere(self):
        asked = self.fail_until_served(lambda connection: connection.reset(), 1, body=STREAM)
        self.assertEqual(2, len(set(asked)))

    def test_a_large_body_is_sent_again_whole(self):
        self.fail_until_served(lambda connection: connection.reset(), 1, body=chat_body("tide " * 100_000))

    def test_a_refused_connection_is_tried_elsewhere(self):
        dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
        engine = self.engines[0]
        gateway = self.gateway(engine, *dead)
        for _ in range(6):  # whoever is asked first
            with_client = Client(gateway.port)
            with_client.send(post(BODY, headers=["Connection: close"]))
            connection = engine.next_connection()
            connection.read_message()
            connection.send(json_response())
            self.assertEqual(200, with_client.read_message().status)
            with_client.close()

    def test_an_answer_500_is_the_clients(self):
        gateway = self.gateway(*self.engines)
        client = self.client(gateway)
        client.send(post(BODY))
        _, connection = accept_any(self.engines)
        connection.read_message()
        connection.send(json_response(b'{"error":"mine"}', b"500 Internal Server Error"))
        answer = client.read_message()
        self.assertEqual((500, b'{"error":"mine"}'), (answer.status, answer.body))
        self.assertTrue(all(engine.untouched() for engine in self.engines))

    def test_attempts_are_limited(self):
        gateway = self.gateway(*self.engines, config={"routes": [{"match": {"model": "*"}, "retry": {"attempts": 2}}]})
        client = self.client(gateway)
        client.send(post(BODY))
        for _ in range(2):
            _, connection = accept_any(self.engines)
            connection.read_message()
            connection.reset()
        self.assert_error(client.read_message(), 502)
        self.assertTrue(all(engine.untouched() for engine in self.engines))

    def test_when_all_fail_the_last_failure_is_told(self):
        gateway = self.gateway(*self.engines)
        client = self.client(gateway)
        client.send(post(BODY))
        for _ in range(3):
            _, connection = accept_any(self.engines)
            connection.read_message()
            connection.reset()
        self.assert_error(client.read_message(), 502, "upstream_reset")

    def test_after_the_first_byte_nobody_else_is_asked(self):
        gateway = self.gateway(*self.engines)
        client = self.client(gateway)
        client.send(post(STREAM))
        _, connection = accept_any(self.engines)
        connection.read_message()
        connection.send(SSE_HEAD + chunk(b"data: 1\n\n"))
        client.read_head()
        client.read_chunk()
        connection.reset()
        client.read_chunked_rest()
        self.assertTrue(all(engine.untouched() for engine in self.engines))

    def test_a_kept_connection_that_the_engine_has_closed_meanwhile_costs_nothing(self):
        engine = self.engines[0]
        gateway = self.gateway(engine)
        client = self.client(gateway)
        client.send(post(BODY))
        connection = engine.accept()
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        client.send(post(BODY))
        connection.read_message()
        connection.close()  # as an engine whose keep-alive time is up does, just as the request comes
        fresh = engine.accept()
        self.assertEqual(BODY, fresh.read_message().body)
        fresh.send(json_response())
        self.assertEqual(200, client.read_message().status)


if __name__ == "__main__":
    unittest.main()
