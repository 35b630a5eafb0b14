"""Plans as the policy `planner` writes them from the header X-Plan (tests/legs/planner.cc): verdicts, plans
made anew, answers of every kind, plans of many legs."""

import unittest

from harness import SSE_HEAD, accept_any, chat_body, chunk, get, json_response, post, wait_for  # noqa: F401
from legs_support import PolicyScenario, instance, routed_by, settle_log

BODY = chat_body()
STREAM = chat_body(stream=True)


class Planned(PolicyScenario):
    workers = 2

    def setUp(self):
        super().setUp()
        self.engines = [self.raw_engine(f"engine {n}") for n in range(self.workers)]

    def serve(self, **options):
        self.proxy = self.gateway(*self.engines, config=routed_by("planner", **options))
        return self.proxy

    def ask(self, plan, body=BODY, headers=(), **options):
        if not hasattr(self, "proxy"):
            self.serve(**options)
        return self.client(self.proxy).send(post(body, headers=[f"X-Plan: {plan}", *headers]))

    def take(self, number):
        """(connection, request): the next request that this engine gets, whole"""
        connection = self.engines[number].next_connection()
        return connection, connection.read_message()


class LegsThatLinger(Planned):
    """A leg that may not be cut off yet outlives its attempt, and still ends with the policy that chose it."""
    workers = 3
    first_plan = "0 drain;2 with late"

    def fail_the_first(self, then, body=BODY):
        """(client, the lingering leg's connection)"""
        client = self.ask(f"{self.first_plan}|{then}", body)
        first, _ = self.take(0)
        lingering, _ = self.take(2)
        first.reset()
        return client, lingering

    def end(self, lingering):
        """The first item comes, so that the leg is cut off."""
        lingering.send(SSE_HEAD + chunk(b"data: 1\n\n"))
        lingering.wait_closed()
        lingering.close()

    def test_it_ends_with_its_own_policy_when_the_fallback_serves_the_next_attempt(self):
        client, lingering = self.fail_the_first("slip")
        engine, connection = accept_any(self.engines[1:])
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.end(lingering)
        self.assert_legs(self.proxy, failed=1, cancelled=1)

    def test_it_ends_with_its_own_policy_after_a_reload(self):
        client, lingering = self.fail_the_first("wait")
        wait_for(lambda: instance(self.proxy)["state"]["waits"] > 0, "the second attempt to wait")
        for name in ("second", "third"):
            self.proxy.configure(self.engines, routed_by("planner", routes=[
                {"name": name, "policy": "planner", "retry": {"attempts": 3}}]))
            settle_log(self.proxy)
            wait_for(lambda: instance(self.proxy, name)["state"]["waits"] > 0, "the run to go by the new routes")
        self.end(lingering)
        client.close()
        self.assert_no_load(self.proxy)

    def test_the_body_stays_while_it_may_be_sent_to_anybody(self):
        big = chat_body("a" * 600_000)
        client = self.ask("0 drain;2 with late|1", big)
        self.take(0)[0].reset()
        slow = self.engines[2].next_connection()  # has not read its request yet
        connection, request = self.take(1)
        self.assertEqual(big, request.body)
        connection.send(SSE_HEAD + chunk(b"data: 1\n\n"))
        self.assertEqual(200, client.read_head().status)
        slow.close()
        connection.send(b"0\r\n\r\n")
        client.read_chunked_rest()
        self.assert_no_load(self.proxy)

    def test_a_stale_connection_is_no_reason_to_send_again_what_nobody_waits_for(self):
        warm = self.ask("2")
        kept, _ = self.take(2)
        kept.send(json_response())
        self.assertEqual(200, warm.read_message().status)
        client, lingering = self.fail_the_first("1")
        self.assertIs(kept, lingering, "the connection was kept")
        connection, _ = self.take(1)
        connection.send(SSE_HEAD + chunk(b"data: 1\n\n"))
        self.assertEqual(200, client.read_head().status)
        lingering.close()
        connection.send(b"0\r\n\r\n")
        client.read_chunked_rest()
        self.assert_legs(self.proxy, ok=2, failed=1, cancelled=1)
        abort, request = self.take(2)
        self.assertEqual("POST /abort_request HTTP/1.1", request.head.start)
        abort.send(json_response())


if __name__ == "__main__":
    unittest.main()
