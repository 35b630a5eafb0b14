"""Reload and drain: what works keeps working."""

import signal
import unittest

from harness import LAST_CHUNK, SSE_HEAD, Scenario, chat_body, chunk, http, json_response, post, wait_for

FIRST = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


class Reload(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()
        self.gw = self.gateway(self.engine, config={"server": {"drain": "2s"}})

    def open_stream(self):
        client = self.client(self.gw).send(post(chat_body(stream=True)))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(SSE_HEAD + chunk(FIRST))
        client.read_head()
        self.assertEqual(FIRST, client.read_chunk())
        return client, connection

    def reloaded(self, times=1):
        self.gw.reload()
        wait_for(lambda: self.gw.log().count('"reloaded"') >= times, "the reload")

    def test_a_stream_lives_through_three_reloads(self):
        client, connection = self.open_stream()
        for times, policy in enumerate(["round_robin", "random", "least_requests"], 1):
            self.gw.configure([self.engine], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": policy}}]})
            self.reloaded(times)
            connection.send(chunk(FIRST))
            self.assertEqual(FIRST, client.read_chunk())
        connection.send(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        self.assertEqual(b"data: [DONE]\n\n", client.read_chunked_rest()[0])

    def test_a_bad_file_is_refused_and_the_old_one_serves_on(self):
        self.gw.write_config("server: {listen: 127.0.0.1:1\nroutes: [")
        self.gw.reload()
        wait_for(lambda: "the reload is refused" in self.gw.log(), "the refusal")
        self.assert_serves(self.gw, self.engine)

    def test_an_unknown_policy_is_refused_with_its_place(self):
        self.gw.configure([self.engine], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": "powr_of_two"}}]})
        self.gw.reload()
        wait_for(lambda: "the reload is refused" in self.gw.log(), "the refusal")
        self.assertIn("powr_of_two", self.gw.log())
        self.assertRegex(self.gw.log(), r"gateway\.yaml:\d+:\d+: routes\[0\]\.policy")
        self.assert_serves(self.gw, self.engine)

    def test_the_policy_that_a_reload_names_routes(self):
        for times, policy in enumerate(["round_robin", "random"], 1):
            self.gw.configure([self.engine], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": policy}}]})
            self.reloaded(times)
            client = self.client(self.gw).send(post(chat_body(), headers=["X-Tidegate-Route: 1"]))
            connection = self.engine.accept()
            connection.read_message()
            connection.send(json_response(headers=[b"Connection: close"]))
            self.assertIn(f"policy={policy};", client.read_message().head.get("X-Tidegate-Route"))

    def test_sigterm_lets_a_stream_end_and_readiness_falls(self):
        client, connection = self.open_stream()
        self.gw.signal(signal.SIGTERM)
        wait_for(lambda: http(f"http://127.0.0.1:{self.gw.control_port}/readiness")[0] == 503, "readiness to fall")
        connection.send(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        self.assertEqual(b"data: [DONE]\n\n", client.read_chunked_rest()[0])
        self.assertEqual(0, self.gw.wait())

    def test_after_the_drains_limit_a_stream_gets_an_error_event(self):
        client, connection = self.open_stream()
        connection.send(chunk(b'data: {"half'))
        self.assertEqual(b'data: {"half', client.read_chunk())
        self.gw.signal(signal.SIGTERM)
        rest = client.read_chunked_rest()[0]
        # The open line is closed before the event of our own.
        self.assertTrue(rest.startswith(b"\n"), rest)
        self.assertIn(b'data: {"error":', rest)
        self.assertIn(b'"draining"', rest)
        self.assertEqual(0, self.gw.wait())

    def test_an_idle_gateway_ends_at_once(self):
        self.gw.signal(signal.SIGTERM)
        self.assertEqual(0, self.gw.wait())


if __name__ == "__main__":
    unittest.main()
