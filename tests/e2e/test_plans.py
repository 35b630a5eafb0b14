"""Plans as the policy `planner` writes them from the header X-Plan (tests/legs/planner.cc): legs that outlive
their attempt, ends of streams, plans of many legs, transforms."""

import json
import select
import unittest

from harness import SSE_HEAD, accept_any, chat_body, chunk, json_response, post, sse_events, wait_for
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


class ManyLegs(PlannedScenario):
    workers = 3

    def answer(self, number, body=b'{"ok":true}'):
        connection, request = self.take(number)
        connection.send(json_response(body))
        return request

    def test_a_plan_of_sixteen_legs(self):
        client = self.ask(";".join([f"{n % 2} drain a<{n - 1 if n else 0}" if n else "0 drain" for n in range(15)])
                          + ";2 a<14")
        for number in range(15):
            self.answer(number % 2, b'{"a":%d}' % number)
        self.assertIn(b'"a":14', self.answer(2).body)
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, ok=16)

    def test_one_leg_more_is_a_slip(self):
        client = self.ask(";".join(["0 drain"] * 16 + ["1"]))
        engine, connection = accept_any(self.engines)
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assertEqual(1, sum(instance(self.proxy)["slips"].values()))

    def test_captures_from_two_legs_back(self):
        client = self.ask("0 drain;1 drain;2 kv<0 rank<1 none<0")
        self.answer(0, b'{"kv":{"a":[1,2.50]},"rank":0}')
        self.assertEqual(BODY, self.answer(1, b'{"rank":7,"kv":0}').body)
        self.assertEqual(BODY[:-1] + b',"kv":{"a":[1,2.50]},"rank":7}', self.answer(2).body)
        self.assertEqual(200, client.read_message().status)

    def test_captures_of_an_answer_over_a_mebibyte(self):
        kv = b'{"blocks":"' + b"x" * (3 << 20) + b'"}'
        client = self.ask("0 drain;1 kv<0 rank<0")
        self.answer(0, b'{"rank":1,"kv":' + kv + b',"z":0}')
        self.assertEqual(BODY[:-1] + b',"kv":' + kv + b',"rank":1}', self.answer(1).body)
        self.assertEqual(200, client.read_message().status)

    def test_the_client_may_leave_while_such_an_answer_is_looked_at(self):
        for _ in range(5):
            client = self.ask("0 drain;1 kv<0")
            connection, _ = self.take(0)
            connection.send(json_response(b'{"kv":"' + b"x" * (8 << 20) + b'"}'))
            client.close()
            connection.close()
        self.assert_no_load(self.proxy)

    def test_drained_answers_are_within_the_budget_of_all_bodies(self):
        client = self.ask("0 drain stop;1", server={"body_budget": "1MiB", "max_body": "512KiB"})
        connection, _ = self.take(0)
        try:
            connection.send(json_response(b'{"kv":"' + b"x" * (2 << 20) + b'"}'))
        except (BrokenPipeError, ConnectionResetError):
            pass  # at the bound the gateway closes
        self.assert_error(client.read_message(), 503, "body_budget_exhausted")
        self.assert_legs(self.proxy, failed=1, never_sent=1)

    def test_a_leg_goes_to_a_path_of_its_own(self):
        client = self.ask("0 drain path=/v1/prefill?x=1;1")
        self.assertEqual("POST /v1/prefill?x=1 HTTP/1.1", self.answer(0).head.start)
        self.assertEqual("POST /v1/chat/completions HTTP/1.1", self.answer(1).head.start)
        self.assertEqual(200, client.read_message().status)


class Transforms(PlannedScenario):
    """The policy upper-cases what is relayed, and appends what the first leg answered."""

    def test_a_json_body_whole_with_the_earlier_answer(self):
        client = self.ask("0 drain;1;transform")
        self.take(0)[0].send(json_response(b'{"logprobs":[1]}'))
        connection, _ = self.take(1)
        whole = json_response(b'{"text":"abc"}')
        connection.send(whole[:-5])
        connection.send(whole[-5:])
        self.assertEqual(b'{"TEXT":"ABC"}{"logprobs":[1]}', client.read_message().body)

    def test_a_stream_event_by_event(self):
        client = self.ask("0 drain;1;transform", STREAM)
        self.take(0)[0].send(json_response(b"first"))
        connection, _ = self.take(1)
        connection.send(SSE_HEAD + chunk(b"event: x\ndata: one\n\nda"))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"event: x\ndata: ONE\n\n", client.read_body_bytes(20))
        connection.send(chunk(b"ta: two\n\n: ping\n\n"))
        self.assertEqual(b"data: TWO\n\n: ping\n\n", client.read_body_bytes(19))
        connection.send(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self.assertEqual(b"data: [DONE]\n\ndata: first\n\n", client.read_chunked_rest()[0])
        self.assert_legs(self.proxy, ok=2)


class BigBodies(PlannedScenario):
    def test_are_not_scanned_where_others_are_served(self):
        """Four bodies end, a small request comes behind them, and does not wait until all four were looked at."""
        self.serve()
        head = post(b"", headers=["X-Plan: 0"]).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        body = BODY[:-1] + b',"x":[' + b"1," * (10 << 20) + b"1]}"  # takes a parser long
        clients = [self.client(self.proxy).send(head + b"%x\r\n" % len(body) + body) for _ in range(4)]
        def buffered():
            line = next(one for one in self.proxy.metrics().splitlines() if one.startswith("tidegate_body_bytes_buff"))
            return float(line.split()[1]) == 4 * len(body)
        wait_for(buffered, "all of them to be there but for their ends")
        for client in clients:
            client.send(b"\r\n0\r\n\r\n")
        small = self.ask("1")
        self.take(1)[0].send(json_response())
        self.assertEqual(200, small.read_message().status)
        came = 0
        while select.select([self.engines[0].listener], [], [], 0)[0]:
            self.engines[0].accept()
            came += 1
        self.assertLess(came, 4)
        for client in clients:
            client.close()


if __name__ == "__main__":
    unittest.main()
