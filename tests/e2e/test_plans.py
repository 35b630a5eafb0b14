"""Plans as the policy `planner` writes them from the header X-Plan (tests/legs/planner.cc): verdicts, plans
made anew, answers of every kind, plans of many legs."""

import json
import unittest

from harness import SSE_HEAD, accept_any, chat_body, chunk, json_response, post, sse_events, wait_for, worker
from legs_support import PlannedScenario, instance, routed_by, settle_log

BODY = chat_body()
STREAM = chat_body(stream=True)


class LegsThatLinger(PlannedScenario):
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


class Ends(PlannedScenario):
    """A stream that has said [DONE] is complete, whatever comes after."""

    def stream(self, plan, **options):
        """(client, the relayed leg's connection): [DONE] has come through"""
        client = self.ask(plan, STREAM, **options)
        connection, _ = self.take(1)
        connection.send(SSE_HEAD + chunk(b"data: 1\n\ndata: [DONE]\n\n"))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"data: 1\n\ndata: [DONE]\n\n", client.read_body_bytes(23))
        return client, connection

    def test_its_leg_ends_well_when_the_engine_breaks_off(self):
        client, connection = self.stream("1")
        connection.reset()
        self.assertEqual(b"", client.read_chunked_rest()[0])
        self.assert_legs(self.proxy, ok=1)

    def test_its_leg_ends_well_when_another_leg_fails(self):
        client = self.ask("0 drain;1 with", STREAM)
        other, _ = self.take(0)
        connection, _ = self.take(1)
        connection.send(SSE_HEAD + chunk(b"data: [DONE]\n\n"))
        client.read_head()
        self.assertEqual(b"data: [DONE]\n\n", client.read_body_bytes(14))
        other.reset()
        self.assertEqual(b"", client.read_chunked_rest()[0])
        self.assert_legs(self.proxy, ok=1, failed=1)

    def test_an_event_behind_it_that_stays_open_is_a_broken_stream(self):
        client, connection = self.stream("1")
        connection.send(chunk(b"data: mo"))
        self.assertEqual(b"data: mo", client.read_body_bytes(8))
        connection.reset()
        self.assertIn("error", json.loads(sse_events(client.read_chunked_rest()[0])[-1]))
        self.assert_legs(self.proxy, failed=1)


if __name__ == "__main__":
    unittest.main()
