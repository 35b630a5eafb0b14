"""Ends that hang where a connection is made, or in the middle of a request: each has its limit, and lets go."""

import contextlib
import pathlib
import select
import socket
import threading
import time
import unittest

from harness import LAST_CHUNK, SSE_HEAD, Client, Scenario, chat_body, chunk, json_response, post, sse_events, wait_for

BODY = chat_body()
LARGE = chat_body("x" * 20_000_000)  # more than the kernel takes for an engine that does not read
SHORT = {"upstream": {"connect_timeout": "300ms", "first_byte_timeout": "500ms", "idle_timeout": "300ms"}}
LEAVES = (Client.close, Client.reset)


class Connecting(Scenario):
    """An engine whose queue of connections is full: the kernel leaves the next one without an answer."""

    def setUp(self):
        super().setUp()
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        self.port = listener.getsockname()[1]
        self.full = f"http://127.0.0.1:{self.port}"
        waiting = []
        while all(select.select([], [one], [], 0.2)[1] for one in waiting):  # until one stays unanswered
            one = socket.socket()
            self.addCleanup(one.close)
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)

    def test_a_connection_that_hangs_is_504(self):
        gateway = self.gateway(self.full, config=SHORT)
        self.assert_error(self.client(gateway).exchange(post(BODY)), 504, "upstream_timeout")

    def test_a_connection_that_hangs_is_given_up_for_another_worker(self):
        engine = self.raw_engine()
        gateway = self.gateway(self.full, engine, config={**SHORT, "routes": [
            {"match": {"model": "*"}, "policy": "round_robin"}]})
        for _ in range(4):  # whoever is asked first
            self.assert_serves(gateway, engine)
        self.assertRegex(gateway.metrics(), r"(?m)^tidegate_retries_total\S* [1-9]")

    def test_a_client_that_goes_meanwhile_ends_the_attempt(self):
        gateway = self.gateway(self.full)
        before = self.unanswered()
        for leave in LEAVES:
            client = self.client(gateway)
            client.send(post(BODY))
            wait_for(lambda: self.unanswered() == before + 1, "the gateway to connect")
            leave(client)
            wait_for(lambda: self.unanswered() == before, "the gateway to let go")

    def unanswered(self):
        """Connections to the full engine in the state SYN_SENT."""
        lines = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(state == "02" and int(remote.split(":")[1], 16) == self.port for _, _, remote, state, *_ in lines)


class Uploading(Scenario):
    """An engine that stops reading in the middle of a large request."""

    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine(receive_buffer=16 * 1024)

    def stuck(self, gateway):
        client = self.client(gateway)
        sender = threading.Thread(target=lambda: client.send(post(LARGE)))
        sender.start()
        connection = self.engine.accept()
        connection.read_head()
        sender.join()
        return client, connection

    def test_it_is_given_up_by_the_limit_of_the_first_byte(self):
        client, connection = self.stuck(self.gateway(self.engine, config=SHORT))
        self.assert_error(client.read_message(), 504, "upstream_timeout")
        connection.wait_hangup()

    def test_a_client_that_goes_meanwhile_takes_its_request_with_it(self):
        gateway = self.gateway(self.engine)
        for leave in LEAVES:
            with self.subTest(leave.__name__):
                client, connection = self.stuck(gateway)
                leave(client)
                connection.wait_hangup()
                connection.close()


class PausedClient(Scenario):
    def test_the_clients_slowness_is_not_taken_for_the_engines_silence(self):
        engine = self.raw_engine(send_buffer=64 * 1024)
        gateway = self.gateway(engine, config=SHORT)
        client = self.client(gateway, receive_buffer=16 * 1024)
        client.send(post(chat_body(stream=True)))
        connection = engine.accept()
        connection.read_message()
        connection.send(SSE_HEAD)
        event = b"data: %s\n\n" % (b"x" * 1_000)
        sent = connection.send_until_blocked(chunk(event))
        time.sleep(1)  # beyond the engine's limit: it is what the scenario is about
        self.assertTrue(connection.is_quiet(), "the engine was let go")
        rest = chunk(event)[sent % len(chunk(event)):] + LAST_CHUNK
        sender = threading.Thread(target=lambda: connection.send(rest))
        sender.start()
        client.read_head()
        data, _ = client.read_chunked_rest()
        sender.join()
        self.assertEqual(set(sse_events(event)), set(sse_events(data)), "an error event")
        with contextlib.closing(self.client(gateway)) as other:  # the engine's connection was kept
            other.send(post(BODY))
            fresh = engine.next_connection()
            fresh.read_message()
            fresh.send(json_response())
            self.assertEqual(200, other.read_message().status)


if __name__ == "__main__":
    unittest.main()
