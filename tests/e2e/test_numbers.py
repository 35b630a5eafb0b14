"""What metrics and access log say of requests: each booked once, as what it was."""

import json
import time
import unittest

from harness import SSE_HEAD, chat_body, chunk, get, json_response, post, wait_for
from legs_support import PlannedScenario

BODY = chat_body()
STREAM = chat_body(stream=True)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"


class Numbers(PlannedScenario):
    def number(self, name, *labels):
        """The sum of a family's series that have all these labels."""
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.proxy.metrics().splitlines()
                   if line.startswith((name + "{", name + " ")) and all(label in line for label in labels))

    def assert_number(self, expected, name, *labels):
        wait_for(lambda: self.number(name, *labels) == expected or None,
                 f"{name} {labels} to be {expected}; it is {self.number(name, *labels)}")

    def serve_and_log(self, **options):
        """Returns the function that waits for the access log's only line."""
        path = self.directory / "access.log"
        self.serve(log={"access": str(path)}, **options)
        return lambda: json.loads(wait_for(lambda: path.exists() and path.read_text(), "a line of the access log"))


class Refused(Numbers):
    def assert_booked(self, status, code):
        self.assert_number(1, "tidegate_requests_total", f'code="{status}"')
        self.assertEqual(0, self.number("tidegate_requests_total", 'code="499"'))
        self.assertEqual(0, self.number("tidegate_client_cancelled_total"))
        self.assertEqual(1, self.number("tidegate_protocol_errors_total", f'code="{code}"'))
        self.assertEqual(0, self.number("tidegate_requests_inflight"))

    def refuse(self, sent, status, code, **server):
        line = self.serve_and_log(server=server)
        client = self.client(self.proxy).send(sent)
        self.assert_error(client.read_message(), status, code)
        self.assert_booked(status, code)
        self.assertEqual((status, code), (line()["status"], line()["error"]))

    def test_a_body_over_the_limit(self):
        self.refuse(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"a" * 2000), 413,
                    "request_body_too_large", max_body="1KiB")

    def test_a_body_that_stops_arriving(self):
        self.refuse(HEAD + b"Content-Length: 10\r\n\r\n{", 408, "request_body_stalled", timeouts={"body": "100ms"})

    def test_chunks_that_are_none(self):
        self.refuse(HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400, "malformed_body")

    def test_a_client_that_leaves_is_booked_as_such(self):
        self.serve()
        client = self.client(self.proxy).send(HEAD + b"Content-Length: 10\r\n\r\n{")
        self.assert_number(1, "tidegate_requests_inflight")
        client.close()
        self.assert_number(1, "tidegate_requests_total", 'code="499"')
        self.assertEqual(1, self.number("tidegate_client_cancelled_total"))


class Routed(Numbers):
    def test_a_relayed_refusal_is_an_error_of_its_worker(self):
        client = self.ask("0 errors stop")
        self.take(0)[0].send(json_response(status=b"503 Busy"))
        self.assertEqual(503, client.read_message().status)
        self.assert_number(1, "tidegate_worker_errors_total", 'kind="status_5xx"')
        self.assertEqual(1, self.number("tidegate_worker_errors_total"))

    def test_a_request_that_no_worker_got_is_one_of_its_route(self):
        for plan, status, name in (("fail", 503, "5xx"), ("shed", 429, "4xx")):
            self.assertEqual(status, self.ask(plan).read_message().status)
            self.assert_number(1, "tidegate_route_requests_total", 'route="all"', f'class="{name}"')
        self.assertEqual(0, self.number("tidegate_gateway_overhead_seconds_count"), "it was never sent on")

    def test_the_gateways_own_time_is_that_of_requests_that_left(self):
        client = self.ask("0")
        self.take(0)[0].send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_number(1, "tidegate_gateway_overhead_seconds_count")
        self.assertGreater(self.number("tidegate_gateway_overhead_seconds_sum"), 0)

    def test_the_first_byte_is_measured_from_the_requests_head(self):
        line = self.serve_and_log()
        client = self.client(self.proxy).send(post(BODY, headers=["X-Plan: 0", "Expect: 100-continue"])[:-len(BODY)])
        self.assertEqual(100, client.read_head().status)
        began = time.monotonic()
        time.sleep(0.1)  # the body's own time: a lower bound of what is measured
        took = time.monotonic() - began
        client.send(BODY)
        self.take(0)[0].send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assert_number(1, "tidegate_ttft_seconds_count")
        self.assertGreaterEqual(self.number("tidegate_ttft_seconds_sum"), took)
        self.assertGreaterEqual(line()["ttft_ms"], took * 1000)
        self.assertLess(self.number("tidegate_worker_ttft_seconds_sum"), took, "a worker's counts from its leg's start")

    def test_connecting_is_measured_when_connected_and_where_needed(self):
        slow = self.engines[0] = self.raw_engine("slow", receive_buffer=4096)
        client = self.ask("0", chat_body("a" * (8 << 20)))
        connection = slow.accept()
        self.assert_number(1, "tidegate_upstream_connect_seconds_count")
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        client = self.ask("0")
        self.take(0)[0].send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.assertEqual((1, 1), (self.number("tidegate_upstream_connect_seconds_count"),
                                  self.number("tidegate_worker_connect_seconds_count")), "a kept one is none")

    def test_a_line_of_the_access_log(self):
        line = self.serve_and_log()
        client = self.ask("0 drain;1", STREAM, ["X-Request-Id: mine"])
        self.take(0)[0].send(json_response())
        self.take(1)[0].send(SSE_HEAD + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        client.read_message()
        line = line()
        self.assertEqual(("mine", 200, len(STREAM), 14, True, "all", "planner"),
                         tuple(line[key] for key in ("request_id", "status", "bytes_in", "bytes_out", "stream",
                                                     "route", "policy")))
        self.assertEqual([("done", 200), ("done", 200)], [(leg["outcome"], leg["status"]) for leg in line["workers"]])

    def test_what_is_none_of_ours_is_counted_by_its_status(self):
        self.serve()
        self.assertEqual(404, self.client(self.proxy).exchange(get("/nowhere")).status)
        self.assert_number(1, "tidegate_requests_total", 'code="404"', 'endpoint="other"')


if __name__ == "__main__":
    unittest.main()
