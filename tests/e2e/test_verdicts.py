"""What a policy decides instead of a plan, what engines answer instead of 2xx, and what the client is told of it.

Plans come from the header X-Plan (tests/legs/planner.cc).
"""

import unittest

from harness import chat_body, json_response, wait_for, worker
from legs_support import PlannedScenario, instance, routed_by


class Verdicts(PlannedScenario):
    """What a policy answers instead of a plan."""

    def wait_for_waits(self, count):
        wait_for(lambda: instance(self.proxy)["state"]["waits"] >= count, f"{count} times WAIT")

    def test_fail_is_503_and_says_when_to_come_back(self):
        answer = self.ask("fail").read_message()
        self.assert_error(answer, 503, "server_selection_failed")
        self.assertEqual("1", answer.head.get("Retry-After"))

    def test_shed_is_429_and_says_when_to_come_back(self):
        for plan, seconds in (("shed:3000", "3"), ("shed:3200", "4"), ("shed:10", "1"), ("shed", "1")):
            with self.subTest(plan):
                answer = self.ask(plan).read_message()
                self.assert_error(answer, 429, "shed_by_policy")
                self.assertEqual(seconds, answer.head.get("Retry-After"))

    def test_wait_ends_with_503_at_the_routes_limit(self):
        self.serve(routes=[{"name": "all", "policy": "planner", "wait": "200ms"}])
        for plan in ("wait", "wait:3600000"):
            answer = self.ask(plan).read_message()
            self.assert_error(answer, 503, "no_available_workers")
            self.assertEqual("2", answer.head.get("Retry-After"))

    def test_a_route_may_let_nobody_wait(self):
        self.serve(routes=[{"name": "all", "policy": "planner", "wait": "0s"}])
        self.assert_error(self.ask("wait").read_message(), 503, "no_available_workers")

    def test_a_policy_that_names_no_time_is_asked_again_and_again(self):
        client = self.ask("wait")
        self.wait_for_waits(4)
        client.close()
        wait_for(lambda: "tidegate_requests_inflight 0" in self.proxy.metrics(), "the request to be given up")

    def test_the_end_of_a_leg_wakes_those_who_wait_in_their_order(self):
        """Each waits for an hour, if nothing wakes it."""
        running = self.ask("0")
        connection, _ = self.take(0)
        waiting = []
        for number in range(3):
            waiting.append(self.ask("idle:0", chat_body(str(number))))
            self.wait_for_waits(number + 1)
        for number in range(3):
            connection.send(json_response())
            self.assertEqual(200, running.read_message().status)
            running = waiting[number]
            connection, request = self.take(0)
            self.assertEqual(chat_body(str(number)), request.body)
        connection.send(json_response())
        self.assertEqual(200, running.read_message().status)
        self.assert_legs(self.proxy, ok=4)

    def test_a_client_that_leaves_wakes_those_who_wait(self):
        gone = self.ask("0")
        self.take(0)
        client = self.ask("idle:0")
        self.wait_for_waits(1)
        gone.close()
        connection, _ = self.take(0)
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_a_new_view_wakes_those_who_wait(self):
        client = self.ask("there:2")
        self.wait_for_waits(1)
        third = self.raw_engine("third")
        self.engines.append(third)
        self.proxy.configure(self.engines, routed_by("planner"))
        self.proxy.reload()
        connection, _ = self.take(2)
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_a_waiting_client_may_leave(self):
        client = self.ask("there:2")
        self.wait_for_waits(1)
        client.close()
        wait_for(lambda: "tidegate_requests_inflight 0" in self.proxy.metrics(), "the request to be given up")
        self.assert_legs(self.proxy)


class Explanations(PlannedScenario):
    """X-Tidegate-Route says what was decided, in one line of printable characters."""

    def test_a_reason_can_bring_no_header_and_no_body(self):
        client = self.ask("0", headers=["X-Tidegate-Route: 1", "X-Why: key=a\\nX-Forged: 1\\n\\n{}"])
        self.take(0)[0].send(json_response())
        answer = client.read_message()
        self.assertEqual((200, [], b'{"ok":true}'), (answer.status, answer.head.all("X-Forged"), answer.body))
        self.assertIn("why=key=a??X-Forged: 1????{}", answer.head.get("X-Tidegate-Route"))

    def test_a_reason_is_bounded(self):
        client = self.ask("0", headers=["X-Tidegate-Route: 1", "X-Why: " + "long" * 1000])
        self.take(0)[0].send(json_response())
        self.assertTrue(client.read_message().head.get("X-Tidegate-Route").endswith("why=" + "long" * 50))


class Refusals(PlannedScenario):
    """What an engine answers other than 2xx."""
    BUSY = json_response(b'{"error":"busy"}', b"503 Service Unavailable", [b"Retry-After: 7"])

    def relayed(self, client):
        answer = client.read_message()
        self.assertEqual((503, "7", b'{"error":"busy"}'),
                         (answer.status, answer.head.get("Retry-After"), answer.body))

    def test_a_refusal_that_is_not_planned_anew_is_relayed(self):
        client = self.ask("0 errors stop")
        self.take(0)[0].send(self.BUSY)
        self.relayed(client)
        self.assertTrue(self.engines[1].untouched())
        self.assert_legs(self.proxy, failed=1)

    def test_a_refusal_that_is_planned_anew_is_not(self):
        client = self.ask("0 errors|1 errors")
        self.take(0)[0].send(self.BUSY)
        self.take(1)[0].send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_the_last_workers_refusal_is_relayed(self):
        client = self.ask("0 errors|1 errors")
        self.take(0)[0].send(json_response(status=b"503 Busy"))
        self.take(1)[0].send(self.BUSY)
        self.relayed(client)

    def test_of_several_legs_the_relayed_ones_refusal_is_relayed(self):
        client = self.ask("0 drain;1 errors", attempts=1)
        self.take(0)[0].send(json_response())
        self.take(1)[0].send(self.BUSY)
        self.relayed(client)
        self.assert_legs(self.proxy, ok=1, failed=1)

    def test_a_refusal_that_is_not_to_be_relayed_is_an_error_of_ours(self):
        client = self.ask("0", attempts=1)
        self.take(0)[0].send(self.BUSY)
        self.assert_error(client.read_message(), 502, "upstream_status")

    def test_of_a_leg_that_is_not_relayed_the_client_gets_4xx_and_else_502(self):
        for status, expected in ((b"301 Moved", 502), (b"304 Not Modified", 502), (b"404 Not Found", 404),
                                 (b"422 No", 422), (b"500 Oops", 502)):
            with self.subTest(status):
                client = self.ask("0 drain stop;1")
                self.take(0)[0].send(b"HTTP/1.1 " + status + b"\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
                self.assert_error(client.read_message(), expected, "upstream_status")

    def test_a_redirection_of_the_relayed_leg_is_relayed(self):
        client = self.ask("0 errors")
        self.take(0)[0].send(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
        answer = client.read_message()
        self.assertEqual((307, "/x"), (answer.status, answer.head.get("Location")))


class Roles(PlannedScenario):
    workers = 3

    def test_a_refusal_is_relayed_where_no_other_worker_has_the_role(self):
        roles = ("prefill", "prefill", "decode")
        self.proxy = self.gateway(*[worker(engine, role=role) for engine, role in zip(self.engines, roles)],
                                  config=routed_by("planner_pd"))
        client = self.ask("0 drain;2 errors")
        self.take(0)[0].send(json_response())
        self.take(2)[0].send(Refusals.BUSY)
        Refusals.relayed(self, client)
        self.assert_legs(self.proxy, ok=1, failed=1)

    def test_and_planned_anew_where_one_has(self):
        roles = ("prefill", "decode", "decode")
        self.proxy = self.gateway(*[worker(engine, role=role) for engine, role in zip(self.engines, roles)],
                                  config=routed_by("planner_pd"))
        client = self.ask("0 drain;1 errors|0 drain;2 errors")
        self.take(0)[0].send(json_response())
        self.take(1)[0].send(Refusals.BUSY)
        self.take(0)[0].send(json_response())
        self.take(2)[0].send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, ok=3, failed=1)


if __name__ == "__main__":
    unittest.main()
