"""Plans of two legs, executed: edits, captures, start rules, failure rules, cancel actions, one end a leg.

The policy two_legs makes the plan that the header X-Plan asks for (tests/legs/two_legs.cc). Both engines are
scripted byte by byte (longer than 400 lines: one script for all rules). The first leg goes to the first worker, the second, which is relayed, to the last.
"""

import json
import unittest

from harness import SSE_HEAD, Closed, accept_any, chat_body, chunk, json_response, post, sse_events
from legs_support import PolicyScenario, fleet_load, instance, routed_by

BODY = chat_body()
STREAM = chat_body(stream=True)
ANSWER = b'{"id":"x", "kv" : {"rank": [1, 2.50,"\\u00e9"],\n "none":null} ,"z":1}'
KV = b'{"rank": [1, 2.50,"\\u00e9"],\n "none":null}'
ABORT = b'{"rid":"r1"}'


class TwoLegs(PolicyScenario):
    workers = 2

    def setUp(self):
        super().setUp()
        self.engines = [self.raw_engine(f"engine {n}") for n in range(self.workers)]
        self.first, self.second = self.engines[0], self.engines[-1]

    def serve(self, **options):
        self.proxy = self.gateway(*self.engines, config=routed_by("two_legs", **options))

    def ask(self, plan="", body=BODY, headers=(), **options):
        if not hasattr(self, "proxy"):
            self.serve(**options)
        return self.client(self.proxy).send(post(body, headers=[f"X-Plan: {plan}", *headers]))

    def take(self, engine):
        """(connection, request): the next request that this engine gets, whole"""
        connection = engine.next_connection()
        return connection, connection.read_message()

    def assert_aborted(self, engine, connection):
        """The leg's connection is closed and its cancel action comes on another one."""
        connection.wait_closed()
        connection.close()
        other, request = self.take(engine)
        self.assertEqual(("POST /abort_request HTTP/1.1", ABORT), (request.head.start, request.body))
        other.send(json_response())

    def assert_untouched(self, engine):
        self.let_it_work(self.proxy)
        self.assertTrue(engine.untouched(), f"{engine.name} got something")


class Edits(TwoLegs):
    def both_requests(self, plan, body, **options):
        client = self.ask(plan, body, **options)
        first, one = self.take(self.first)
        first.send(json_response(ANSWER))
        second, two = self.take(self.second)
        second.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, ok=2)
        return one, two

    def test_edits_change_their_members_and_not_a_byte_besides(self):
        body = (b'\t{ "user" : "u\\u00e9" ,\r\n  "model":"llama-3-8b" , "messages" : [ {"role":"user",  "content":'
                b'"a \\"b\\" \\ud83c\\udf0a"} ],"x" : 1.50e+1 , "max_tokens"  :  64\n }  ')
        one, two = self.both_requests("edit", body)
        self.assertEqual(b'\t{ "model":"llama-3-8b" , "messages" : [ {"role":"user",  "content":"a \\"b\\" '
                         b'\\ud83c\\udf0a"} ],"x" : 1.50e+1 , "max_tokens"  :  1,"stream":false\n }  ', one.body)
        self.assertEqual(body, two.body, "the other leg's body is the client's")

    def test_members_that_stand_there_keep_their_places(self):
        body = (b'{"stream" : true,"model":"llama-3-8b","messages":[],"nested":{"user":"n","stream":true},'
                b'\n"max_tokens":\t5 , "user" :{"a":[1,{"b":"}"}]}}')
        one, two = self.both_requests("edit", body)
        self.assertEqual(b'{"stream" : false,"model":"llama-3-8b","messages":[],"nested":{"user":"n",'
                         b'"stream":true},\n"max_tokens":\t1}', one.body)
        self.assertEqual(body, two.body)

    def test_a_header_edit_reaches_its_leg_alone_and_wins_over_the_clients(self):
        one, two = self.both_requests("edit", BODY, headers=["x-leg: the client's", "X-Other: kept"])
        self.assertEqual((["prefill"], ["the client's"]), (one.head.all("X-Leg"), two.head.all("X-Leg")))
        self.assertEqual(["kept"], one.head.all("X-Other"))

    def test_without_edits_both_get_the_clients_bytes(self):
        body = b' {"model" : "llama-3-8b"\n,"messages":[]  }\t'
        one, two = self.both_requests("", body)
        self.assertEqual((body, body), (one.body, two.body))


class Captures(TwoLegs):
    def second_gets(self, plan, answer, body=BODY):
        client = self.ask(plan, body)
        self.take(self.first)[0].send(json_response(answer))
        second, request = self.take(self.second)
        second.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, ok=2)
        return request.body

    def test_a_member_of_the_first_answer_is_carried_as_it_stands(self):
        self.assertEqual(BODY[:-1] + b',"kv_params":' + KV + b"}", self.second_gets("capture", ANSWER))

    def test_it_takes_the_place_of_what_the_client_sent_under_that_name(self):
        body = b'{"kv_params" : null ,"model":"llama-3-8b","messages":[]}'
        self.assertEqual(b'{"kv_params" : ' + KV + b' ,"model":"llama-3-8b","messages":[]}',
                         self.second_gets("capture", ANSWER, body))

    def test_an_optional_member_that_is_missing_sets_nothing(self):
        self.assertEqual(BODY, self.second_gets("maybe", b'{"nested":{"kv":1}}'))

    def test_an_optional_member_of_what_is_no_json_sets_nothing(self):
        self.assertEqual(BODY, self.second_gets("maybe", b'{"kv":1'))

    def test_a_capture_from_a_leg_that_is_not_waited_for_costs_the_policy_this_request(self):
        client = self.ask("with capture")
        _, connection = accept_any(self.engines)
        self.assertEqual(BODY, connection.read_message().body)
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assertEqual({"capture": 1}, instance(self.proxy)["slips"])

    def test_a_required_member_that_is_missing_is_the_first_legs_failure(self):
        client = self.ask("capture fail")
        self.take(self.first)[0].send(json_response(b'{"nested":{"kv":1}}'))
        error = self.assert_error(client.read_message(), 502, "upstream_invalid_response")
        self.assertIn("'kv'", error["message"])
        self.assert_untouched(self.second)
        self.assert_legs(self.proxy, failed=1, never_sent=1)

    def test_an_ignored_failure_goes_on_without_the_member(self):
        client = self.ask("capture ignore")
        self.take(self.first)[0].send(json_response(b"{}", status=b"500 Oops"))
        second, request = self.take(self.second)
        self.assertEqual(BODY, request.body)
        second.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, failed=1, ok=1)


class Starts(TwoLegs):
    def finish(self, client, second):
        second.send(json_response(b'{"from":"second"}'))
        answer = client.read_message()
        self.assertEqual((200, b'{"from":"second"}'), (answer.status, answer.body))

    def test_together_both_requests_come_before_either_is_answered(self):
        client = self.ask("with")
        first, _ = self.take(self.first)
        second, _ = self.take(self.second)
        first.send(json_response(ANSWER))
        self.finish(client, second)
        self.assert_legs(self.proxy, ok=2)

    def test_together_the_relayed_answer_does_not_wait_for_the_first(self):
        client = self.ask("with")
        first, _ = self.take(self.first)
        self.finish(client, self.take(self.second)[0])
        self.assertEqual(1, fleet_load(self.proxy)[0][0], "the first leg is still under way")
        first.send(json_response(ANSWER))
        self.assert_legs(self.proxy, ok=2)

    def test_after_means_after_the_whole_of_a_drained_answer(self):
        client = self.ask()
        first, _ = self.take(self.first)
        whole = json_response(ANSWER)
        for cut in (20, len(whole) - 1):
            first.send(whole[:cut] if cut == 20 else whole[20:cut])
            self.assert_untouched(self.second)
        first.send(whole[-1:])
        self.finish(client, self.take(self.second)[0])
        self.assert_legs(self.proxy, ok=2)

    def test_after_means_after_the_head_of_a_discarded_answer(self):
        client = self.ask("discard")
        first, _ = self.take(self.first)
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n")
        self.assert_untouched(self.second)
        first.send(b"\r\n")
        self.finish(client, self.take(self.second)[0])
        first.send(b"left")
        self.assert_legs(self.proxy, ok=2)

    def test_a_mirrored_leg_starts_after_the_relayed_one_has_answered(self):
        for piece in (chunk(b"{"), chunk(b"{}") + b"0\r\n\r\n", b"0\r\n\r\n"):
            with self.subTest(piece):
                client = self.ask("mirror")
                first, _ = self.take(self.first)
                self.assert_untouched(self.second)
                first.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self.assert_untouched(self.second)
                first.send(piece)
                second, request = self.take(self.second)
                self.assertEqual(BODY, request.body)
                second.send(json_response())
                if piece == chunk(b"{"):
                    first.send(b"0\r\n\r\n")
                self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, ok=6)

    def test_a_mirrored_leg_also_follows_an_answer_without_a_body(self):
        client = self.ask("mirror")
        self.take(self.first)[0].send(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.take(self.second)[0].send(json_response())
        self.assertEqual(204, client.read_message().status)
        self.assert_legs(self.proxy, ok=2)


    def test_a_leg_that_has_not_begun_when_the_client_has_everything_never_does(self):
        client = self.ask("mirror third")
        first, _ = self.take(self.first)
        first.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"{"))
        second, _ = self.take(self.second)
        first.send(chunk(b"}") + b"0\r\n\r\n")
        self.assertEqual(b"{}", client.read_message().body)
        second.send(json_response())
        self.assert_legs(self.proxy, ok=2, never_sent=1)
        self.assert_untouched(self.second)


class FailureOfTheFirst(TwoLegs):
    """The ways in which the first leg fails, and what `fail` and `ignore` make of them."""

    def reset(self, first):
        first.reset()

    def answer_500(self, first):
        first.send(json_response(b'{"error":"no"}', status=b"500 Oops"))

    def answer_404(self, first):
        first.send(json_response(b'{"error":"no"}', status=b"404 Not Found"))

    def say_nothing(self, first):
        first.wait_closed()

    ways = ((reset, 502, "upstream_reset"), (answer_500, 502, "upstream_status"),
            (answer_404, 404, "upstream_status"), (say_nothing, 504, "upstream_timeout"))

    def test_fail_tells_the_client_and_cancels_the_second(self):
        for way, status, code in self.ways:
            with self.subTest(way.__name__):
                client = self.ask("with fail limit")
                first, _ = self.take(self.first)
                second, _ = self.take(self.second)
                way(self, first)
                self.assert_error(client.read_message(), status, code)
                second.wait_closed()
                first.close()
                second.close()
        self.assert_legs(self.proxy, failed=4, cancelled=4)

    def test_fail_before_the_second_began_never_sends_it(self):
        client = self.ask("fail")
        self.reset(self.take(self.first)[0])
        self.assert_error(client.read_message(), 502, "upstream_reset")
        self.assert_untouched(self.second)
        self.assert_legs(self.proxy, failed=1, never_sent=1)

    def test_ignore_lets_the_plan_go_on(self):
        for plan in ("ignore limit", "with ignore limit", "discard ignore limit"):
            for way, _, _ in self.ways:
                with self.subTest(f"{plan}: {way.__name__}"):
                    client = self.ask(plan)
                    first, _ = self.take(self.first)
                    if "with" in plan:
                        second, _ = self.take(self.second)
                    way(self, first)
                    if "with" not in plan:
                        second, _ = self.take(self.second)
                    second.send(json_response())
                    self.assertEqual(200, client.read_message().status)
                    first.close()
        self.assert_legs(self.proxy, failed=12, ok=12)

    def test_refused_connections_follow_the_same_rules(self):
        self.first.stop_listening()
        client = self.ask("fail with")
        self.assert_error(client.read_message(), 502, "upstream_connect_failed")
        client = self.ask("ignore")
        # The second leg of the first plan may have come so far that it was accepted.
        while True:
            second = self.second.next_connection()
            try:
                second.read_message()
                second.send(json_response())
                break
            except (Closed, OSError):
                second.close()
        self.assertEqual(200, client.read_message().status)
        self.assert_no_load(self.proxy)

    def test_a_drained_answer_over_its_bound_is_a_failure(self):
        client = self.ask("fail abort")
        first, _ = self.take(self.first)
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n")
        try:
            for _ in range(32):
                first.send(b" " * (1 << 20))
        except (BrokenPipeError, ConnectionResetError):
            pass  # at the bound the gateway closes
        self.assert_error(client.read_message(), 502, "upstream_response_too_large")
        first.close()
        other, request = self.take(self.first)
        self.assertEqual(ABORT, request.body)
        other.send(json_response())
        self.assert_legs(self.proxy, failed=1, never_sent=1)


class Anew(TwoLegs):
    """Of three workers the first plan uses the outer ones; the next one goes to those that did not fail."""
    workers = 3

    def setUp(self):
        super().setUp()
        self.middle = self.engines[1]

    def test_the_plan_is_made_anew_on_other_workers(self):
        client = self.ask("with")
        self.take(self.first)[0].reset()
        old, _ = self.take(self.second)
        self.take(self.middle)[0].send(json_response(ANSWER))
        old.wait_closed()
        old.close()
        second, request = self.take(self.second)
        self.assertEqual(BODY, request.body)
        second.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, failed=1, cancelled=1, ok=2)

    def test_a_required_member_that_is_missing_blames_the_worker_that_left_it_out(self):
        client = self.ask("capture")
        self.take(self.first)[0].send(json_response(b"{}"))
        self.take(self.middle)[0].send(json_response(ANSWER))
        second, request = self.take(self.second)
        self.assertEqual(BODY[:-1] + b',"kv_params":' + KV + b"}", request.body)
        second.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, failed=1, never_sent=1, ok=2)

    def test_a_second_leg_that_fails_before_its_first_byte_is_planned_anew(self):
        client = self.ask()
        self.take(self.first)[0].send(json_response(ANSWER))
        self.take(self.second)[0].send(json_response(status=b"503 Busy"))
        self.take(self.first)[0].send(json_response(ANSWER))
        self.take(self.middle)[0].send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_legs(self.proxy, failed=1, ok=3)

    def test_only_as_often_as_the_routes_retry_allows(self):
        client = self.ask(attempts=2)
        self.take(self.first)[0].reset()
        self.take(self.middle)[0].reset()
        self.assert_error(client.read_message(), 502, "upstream_reset")
        self.assert_untouched(self.second)
        self.assert_legs(self.proxy, failed=2, never_sent=2)

    def test_only_as_long_as_a_worker_is_left(self):
        client = self.ask(attempts=9)
        for engine in self.engines:
            self.take(engine)[0].reset()
        self.assert_error(client.read_message(), 502, "upstream_reset")
        self.assert_legs(self.proxy, failed=3, never_sent=3)


class Cancel(TwoLegs):
    def test_the_client_leaves_and_every_leg_under_way_is_aborted(self):
        client = self.ask("with abort")
        first, _ = self.take(self.first)
        second, _ = self.take(self.second)
        client.close()
        self.assert_aborted(self.first, first)
        self.assert_aborted(self.second, second)
        self.assert_legs(self.proxy, cancelled=2)

    def test_a_leg_that_has_ended_is_not_aborted(self):
        client = self.ask("abort")
        self.take(self.first)[0].send(json_response(ANSWER))
        second, _ = self.take(self.second)
        client.reset()
        self.assert_aborted(self.second, second)
        self.assert_untouched(self.first)
        self.assert_legs(self.proxy, ok=1, cancelled=1)

    def test_a_leg_that_never_began_is_not_aborted(self):
        client = self.ask("abort")
        first, _ = self.take(self.first)
        client.close()
        self.assert_aborted(self.first, first)
        self.assert_untouched(self.second)
        self.assert_legs(self.proxy, cancelled=1, never_sent=1)

    def test_without_an_action_the_connection_is_closed_and_nothing_sent(self):
        client = self.ask("with")
        connections = [self.take(self.first)[0], self.take(self.second)[0]]
        client.close()
        for connection in connections:
            connection.wait_closed()
            connection.close()
        self.assert_legs(self.proxy, cancelled=2)
        self.assert_untouched(self.first)
        self.assert_untouched(self.second)

    def test_a_leg_whose_request_has_not_left_whole_is_not_aborted(self):
        slow = self.raw_engine("slow", receive_buffer=4096)
        self.first = self.engines[0] = slow
        client = self.ask("abort", chat_body("a" * (8 << 20)))
        connection = slow.accept()
        connection.read_until(b"\r\n\r\n")
        client.close()
        connection.wait_closed()
        connection.close()
        self.assert_legs(self.proxy, cancelled=1, never_sent=1)
        self.assert_untouched(slow)

    def test_late_waits_for_the_first_item(self):
        client = self.ask("with late", STREAM)
        first, _ = self.take(self.first)
        second, _ = self.take(self.second)
        client.close()
        self.assert_untouched(self.first)
        self.assert_untouched(self.second)
        for head in (SSE_HEAD[:30], SSE_HEAD[30:]):  # a head is not an item yet
            second.send(head)
            self.assert_untouched(self.second)
        second.send(chunk(b"data: 1\n\n"))
        self.assert_aborted(self.second, second)
        self.assert_untouched(self.first)
        self.assertEqual([1, 0], [load for load, _ in fleet_load(self.proxy)], "the first is still waited for")
        first.send(json_response(ANSWER)[:-1])
        self.assert_aborted(self.first, first)
        self.assert_legs(self.proxy, cancelled=2)

    def test_late_does_not_abort_what_has_ended_with_its_first_item(self):
        client = self.ask("late", STREAM)
        first, _ = self.take(self.first)
        client.close()
        self.let_it_work(self.proxy)
        first.send(json_response(ANSWER))
        self.assert_legs(self.proxy, cancelled=1, never_sent=1)
        first.wait_closed() if not first.is_quiet() else None
        self.assert_untouched(self.first)

    def test_late_does_not_wait_for_an_item_after_a_refusal(self):
        client = self.ask("late", STREAM)
        first, _ = self.take(self.first)
        client.close()
        self.let_it_work(self.proxy)
        first.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\n")
        first.wait_closed()
        self.assert_legs(self.proxy, cancelled=1, never_sent=1)

    def test_late_waits_for_the_legs_time_limit_at_most(self):
        client = self.ask("late limit", STREAM)
        first, _ = self.take(self.first)
        client.close()
        self.assert_aborted(self.first, first)
        self.assert_legs(self.proxy, cancelled=1, never_sent=1)

    def test_a_late_leg_outlives_the_failure_of_the_other(self):
        client = self.ask("with late", attempts=1)
        first, _ = self.take(self.first)
        self.take(self.second)[0].reset()
        self.assert_error(client.read_message(), 502, "upstream_reset")
        self.assert_untouched(self.first)
        first.send(json_response(ANSWER)[:-1])
        self.assert_aborted(self.first, first)
        self.assert_legs(self.proxy, failed=1, cancelled=1)

    def test_a_time_limit_aborts_the_leg_that_it_ends(self):
        client = self.ask("fail limit abort")
        first, _ = self.take(self.first)
        self.assert_aborted(self.first, first)
        self.assert_error(client.read_message(), 504, "upstream_timeout")
        self.assert_legs(self.proxy, failed=1, never_sent=1)


class MidStream(TwoLegs):
    def test_the_second_dies_in_its_stream_and_the_first_is_cancelled(self):
        client = self.ask("with abort", STREAM)
        first, _ = self.take(self.first)
        second, _ = self.take(self.second)
        second.send(SSE_HEAD + chunk(b"data: 1\n\ndata: ha"))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"data: 1\n\ndata: ha", client.read_body_bytes(17))
        second.reset()
        rest, _ = client.read_chunked_rest()
        self.assertTrue(rest.startswith(b"\n\n"), f"the open event is closed first: {rest!r}")
        error, *more = sse_events(rest)
        self.assertEqual("upstream_reset", json.loads(error)["error"]["code"])
        self.assertNotIn(b"[DONE]", more)
        self.assert_aborted(self.first, first)
        self.assert_legs(self.proxy, failed=1, cancelled=1)

    def test_the_first_fails_while_the_second_streams(self):
        client = self.ask("with fail abort", STREAM)
        first, _ = self.take(self.first)
        second, _ = self.take(self.second)
        second.send(SSE_HEAD + chunk(b"data: 1\n\n"))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(b"data: 1\n\n", client.read_body_bytes(9))
        first.send(json_response(status=b"500 Oops"))
        rest, _ = client.read_chunked_rest()
        self.assertIn("error", json.loads(sse_events(rest)[0]))
        self.assert_aborted(self.second, second)
        self.assert_legs(self.proxy, failed=1, cancelled=1)

    def test_the_first_fails_ignored_while_the_second_streams(self):
        client = self.ask("with ignore", STREAM)
        first, _ = self.take(self.first)
        second, _ = self.take(self.second)
        second.send(SSE_HEAD + chunk(b"data: 1\n\n"))
        self.assertEqual(200, client.read_head().status)
        first.reset()
        self.let_it_work(self.proxy)
        second.send(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self.assertEqual(b"data: 1\n\ndata: [DONE]\n\n", client.read_chunked_rest()[0])
        self.assert_legs(self.proxy, failed=1, ok=1)


if __name__ == "__main__":
    unittest.main()
