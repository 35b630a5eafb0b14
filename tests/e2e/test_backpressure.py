"""A slow end stops the other end, not the gateway, whose memory stays where it is.

  E2E_BACKPRESSURE_MIB   how much an engine would send to a slow reader; default 1024 (it is never taken whole)
  E2E_RELAY_MIB          how much is relayed whole and compared; default 64
"""

import contextlib
import hashlib
import os
import select
import threading
import time
import unittest

from harness import SLOW_BUILD, SSE_HEAD, Scenario, chat_body, chunk, json_response, post, wait_for

OFFERED = int(os.environ.get("E2E_BACKPRESSURE_MIB", "1024")) << 20
RELAYED = int(os.environ.get("E2E_RELAY_MIB", "64")) << 20
GROWTH_KIB = 1024


class SlowReader(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine(send_buffer=64 * 1024)
        self.gw = self.gateway(self.engine)
        self.warm_up()
        self.before_kib = self.gw.rss_kib()

    def warm_up(self):
        """Both loops have served, so that what is made once is made."""
        for _ in range(16):
            self.assert_serves(self.gw, self.engine)

    def begin(self, head):
        client = self.client(self.gw, receive_buffer=16 * 1024)
        client.send(post(chat_body(stream=True)))
        connection = self.engine.next_connection()
        connection.read_message()
        connection.send(head)  # it leaves with the first piece of body
        return client, connection

    def assert_steady(self, client, connection, block):
        sent = connection.send_until_blocked(block, quiet=0.5)
        self.assertLess(sent, 16 << 20, "the engine's send never blocked")
        client.read_head()
        cpu, start = self.gw.cpu_seconds(), time.monotonic()
        for _ in range(10):  # 1 kB/s, in pieces
            client.read_exactly(100)
            time.sleep(0.1)  # the reader's pace: it is what the scenario is about
        share = (self.gw.cpu_seconds() - cpu) / (time.monotonic() - start)
        if not SLOW_BUILD:
            self.assertLess(self.gw.rss_kib() - self.before_kib, GROWTH_KIB)
            self.assertLess(share, 0.01, "the gateway does not idle while it waits")
        return sent

    def test_a_large_body_to_a_slow_reader(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % OFFERED
        client, connection = self.begin(head)
        self.assert_steady(client, connection, b"x" * 65_536)

    def test_a_stream_of_events_to_a_slow_reader(self):
        client, connection = self.begin(SSE_HEAD)
        self.assert_steady(client, connection, chunk(b'data: {"text":"%s"}\n\n' % (b"x" * 200)) * 100)

    def test_a_reader_that_wakes_up_gets_everything_that_was_sent(self):
        client, connection = self.begin(SSE_HEAD)
        block = b"".join(chunk(b"data: %08d\n\n" % number) for number in range(5000))
        payload = b"".join(b"data: %08d\n\n" % number for number in range(5000))
        sent = connection.send_until_blocked(block)
        client.read_head()
        connection.sock.settimeout(30)
        missing = -sent % len(block)
        sender = threading.Thread(target=lambda: connection.send(block[len(block) - missing:] + b"0\r\n\r\n"))
        sender.start()
        data, _ = client.read_chunked_rest()
        sender.join()
        self.assertEqual((sent + missing) // len(block) * len(payload), len(data))
        self.assertEqual(payload, data[:len(payload)])
        self.assertEqual(payload, data[-len(payload):])

    def test_a_slow_reader_does_not_slow_another_one(self):
        _, connection = self.begin(SSE_HEAD)
        connection.send_until_blocked(chunk(b"data: %s\n\n" % (b"x" * 16_000)))
        self.engine.connections.remove(connection)
        self.addCleanup(connection.close)
        for _ in range(8):  # both loops
            client = self.client(self.gw)
            client.send(post(chat_body(), headers=["Connection: close"]))
            other = self.engine.next_connection()
            other.read_message()
            other.send(json_response())
            self.assertEqual(200, client.read_message().status)


class WriteLimit(Scenario):
    LIMIT = 0.8

    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine(send_buffer=64 * 1024)
        self.gw = self.gateway(self.engine, config={"server": {"timeouts": {"write": f"{self.LIMIT * 1000:.0f}ms"}}})
        self.client_end = self.client(self.gw, receive_buffer=16 * 1024)
        self.client_end.send(post(chat_body(stream=True)))
        self.connection = self.engine.accept()
        self.connection.read_message()
        self.connection.send(SSE_HEAD)
        sender = threading.Thread(target=self.fill)
        sender.start()
        self.addCleanup(sender.join)
        self.client_end.read_head()

    def fill(self):
        with contextlib.suppress(OSError):  # until the gateway lets go
            self.connection.send(chunk(b"data: %s\n\n" % (b"x" * 16_000)) * 4096)

    def test_a_client_that_takes_nothing_is_given_up(self):
        self.connection.wait_hangup()

    def test_a_client_that_goes_on_reading_is_not_however_slow_it_is(self):
        # Far less than the kernel holds for it, so that the gateway is not asked for more all the while.
        start = time.monotonic()
        while time.monotonic() < start + 5 * self.LIMIT:
            self.client_end.read_exactly(4_000)
            time.sleep(self.LIMIT / 10)  # the reader's pace: it is what the scenario is about
        poll = select.poll()
        poll.register(self.connection.sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        self.assertEqual([], poll.poll(0), "the engine was let go")
        self.connection.wait_hangup()  # it reads no more


class SlowEngine(Scenario):
    def test_an_engine_that_does_not_read_stops_no_one_else(self):
        engine = self.raw_engine(receive_buffer=16 * 1024)
        gateway = self.gateway(engine)
        client = self.client(gateway)
        body = chat_body("x" * 20_000_000)
        sender = threading.Thread(target=lambda: client.send(post(body)))
        sender.start()
        slow = engine.accept()
        sender.join()
        other = self.client(gateway)
        other.send(post(chat_body()))
        connection = engine.accept()
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, other.read_message().status)
        seen = slow.read_message()
        self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(seen.body).digest())

    def test_the_memory_of_a_large_body_comes_back(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        for _ in range(4):
            self.assert_serves(gateway, engine)
        before = gateway.rss_kib()
        client = self.client(gateway)
        client.sock.settimeout(60)
        sender = threading.Thread(target=lambda: client.send(post(chat_body("x" * 30_000_000))))
        sender.start()
        connection = engine.next_connection()
        connection.read_message()
        connection.send(json_response())
        sender.join()
        self.assertEqual(200, client.read_message().status)
        if not SLOW_BUILD:
            wait_for(lambda: gateway.rss_kib() - before < 4096, "the body's memory to come back")


class Throughput(Scenario):
    def test_a_large_response_passes_whole_in_little_memory(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        for _ in range(16):
            self.assert_serves(gateway, engine)
        before = gateway.rss_kib()
        client = self.client(gateway)
        client.send(post(chat_body()))
        connection = engine.next_connection()
        connection.read_message()
        block = os.urandom(1 << 20)
        expected = hashlib.sha256()

        def answer():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % RELAYED)
            for _ in range(RELAYED >> 20):
                expected.update(block)
                connection.send(block)

        sender = threading.Thread(target=answer)
        sender.start()
        client.read_head()
        seen = hashlib.sha256()
        left, most = RELAYED, 0
        while left:
            piece = client.buffer or client.sock.recv(1 << 20)
            client.buffer = b""
            seen.update(piece)
            left -= len(piece)
            most = max(most, gateway.rss_kib())
        sender.join()
        self.assertEqual(expected.digest(), seen.digest())
        if not SLOW_BUILD:
            self.assertLess(most - before, GROWTH_KIB)


if __name__ == "__main__":
    unittest.main()
