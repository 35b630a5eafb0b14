"""What a request may be, and what a request that may not be gets. Every error has OpenAI's envelope."""

import select
import unittest

from harness import Scenario, chat_body, free_port, get, json_response, post, wait_for


class Limits(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()

    def answer(self, request, **config):
        gateway = self.gateway(self.engine, config=config)
        return self.client(gateway).exchange(request)

    def test_a_malformed_head_is_400(self):
        self.assert_error(self.answer(b"GARBAGE\r\n\r\n"), 400)

    def test_an_oversized_head_is_431(self):
        answer = self.answer(get("/v1/models", headers=["X-Long: " + "a" * 9000]), server={"max_head": "8KiB"})
        self.assert_error(answer, 431, "head_too_large")

    def test_too_many_headers_are_431(self):
        answer = self.answer(get("/v1/models", headers=[f"X-{i}: a" for i in range(50)]),
                             server={"max_headers": 40})
        self.assert_error(answer, 431, "too_many_headers")

    def test_an_oversized_length_is_413_before_the_body_is_sent(self):
        gateway = self.gateway(self.engine, config={"server": {"max_body": "1KiB"}})
        client = self.client(gateway)
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1025\r\n\r\n")
        self.assert_error(client.read_message(), 413, "request_body_too_large")

    def test_an_oversized_chunked_body_is_413_as_soon_as_it_is_too_large(self):
        gateway = self.gateway(self.engine, config={"server": {"max_body": "1KiB"}})
        client = self.client(gateway)
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"800\r\n" + b"a" * 1025)  # the chunk goes on
        self.assert_error(client.read_message(), 413, "request_body_too_large")

    def test_a_body_of_exactly_the_limit_passes(self):
        body = chat_body("a" * 2000)
        gateway = self.gateway(self.engine, config={"server": {"max_body": len(body)}})
        client = self.client(gateway)
        client.send(post(body))
        connection = self.engine.accept()
        self.assertEqual(body, connection.read_message().body)
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_a_head_that_does_not_come_to_its_end_is_408(self):
        gateway = self.gateway(self.engine, config={"server": {"timeouts": {"header": "200ms"}}})
        client = self.client(gateway)
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gate")
        self.assert_error(client.read_message(), 408, "request_head_stalled")
        self.assertEqual(b"", client.read_to_eof())

    def test_a_body_that_stops_coming_is_408(self):
        gateway = self.gateway(self.engine, config={"server": {"timeouts": {"body": "200ms"}}})
        client = self.client(gateway)
        client.send(post(chat_body())[:-5])
        self.assert_error(client.read_message(), 408, "request_body_stalled")
        self.assertEqual(b"", client.read_to_eof())

    def trickled(self, first, drip, **config):
        """The answer to a client that sends `first` and then `drip` again and again, well within each limit."""
        client = self.client(self.gateway(self.engine, config={"server": config}))
        client.send(first)
        for _ in range(400):
            if select.select([client.sock], [], [], 0.025)[0]:  # the client's pace
                break
            client.send(drip)
        return client.read_message()

    def test_a_head_that_trickles_is_408(self):
        answer = self.trickled(b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\nX: ", b"a", timeouts={"header": "200ms"})
        self.assert_error(answer, 408, "request_head_stalled")

    def test_a_body_that_trickles_is_408(self):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"
        for first, drip in ((b"Content-Length: 100000\r\n\r\n", b"a"),
                            (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")):
            with self.subTest(first):
                answer = self.trickled(head + first, drip, timeouts={"body": "200ms"}, min_body_rate=1000)
                self.assert_error(answer, 408, "request_body_too_slow")
        self.assertTrue(self.engine.untouched())

    def test_an_idle_connection_is_closed_in_silence(self):
        gateway = self.gateway(self.engine, config={"server": {"timeouts": {"idle": "200ms"}}})
        client = self.client(gateway)
        client.exchange(get("/nowhere"))
        self.assertEqual(b"", client.read_to_eof())

    def test_invalid_json_is_400_and_names_the_position(self):
        body = b'{"model": "llama-3-8b",\n "messages": [{"role": "user" "content": 1}]}'
        error = self.assert_error(self.answer(post(body)), 400, "invalid_json")
        self.assertRegex(error["message"], r"line 2|offset \d+|byte \d+|position \d+")

    def test_a_truncated_json_body_is_400(self):
        self.assert_error(self.answer(post(chat_body()[:-1])), 400, "invalid_json")

    def test_a_body_that_is_no_object_is_400(self):
        self.assert_error(self.answer(post(b'["model"]')), 400, "body_not_object")

    def test_an_empty_body_is_400(self):
        self.assert_error(self.answer(post(b"")), 400)

    def test_a_routing_member_that_stands_twice_is_400(self):
        for twice in (b'{"model":"llama-3-8b","model":"other","messages":[]}',
                      b'{"model":"llama-3-8b","messages":[],"stream":true,"stream":false}',
                      b'{"model":"llama-3-8b","messages":[],"messages":[]}',
                      b'{"model":"llama-3-8b","messages":[],"\\u006dodel":"other"}'):
            with self.subTest(twice):
                self.assert_error(self.answer(post(twice)), 400, "duplicate_member")

    def test_a_member_that_the_gateway_does_not_read_may_stand_twice(self):
        body = b'{"model":"llama-3-8b","messages":[],"seed":1,"seed":2}'
        gateway = self.gateway(self.engine)
        client = self.client(gateway)
        client.send(post(body))
        connection = self.engine.accept()
        self.assertEqual(body, connection.read_message().body)
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_a_routing_member_of_the_wrong_type_is_400(self):
        self.assert_error(self.answer(post(b'{"model":7,"messages":[]}')), 400)

    def test_an_unknown_model_is_404(self):
        answer = self.answer(post(b'{"model":"gpt-9","messages":[]}'))
        error = self.assert_error(answer, 404, "model_not_found")
        self.assertIn("gpt-9", error["message"])

    def test_an_unknown_path_is_404(self):
        self.assert_error(self.answer(get("/nowhere")), 404, "not_found")

    def test_a_wrong_method_is_405_and_names_the_right_one(self):
        answer = self.answer(get("/v1/chat/completions"))
        self.assert_error(answer, 405, "method_not_allowed")
        self.assertEqual("POST", answer.head.get("Allow"))

    def test_no_worker_is_503_with_retry_after(self):
        gateway = self.gateway(config={"discovery": []}, ready=False)
        wait_for(lambda: self.alive(gateway), "the gateway to listen")
        answer = self.client(gateway).exchange(post(chat_body()))
        self.assert_error(answer, 503, "no_available_workers")
        self.assertGreaterEqual(int(answer.head.get("Retry-After")), 1)

    def test_a_worker_that_is_down_is_503_with_retry_after_once_it_is_known(self):
        gateway = self.gateway(f"http://127.0.0.1:{free_port()}", ready=False, config={
            "health": {"enabled": True, "interval": "50ms", "timeout": "50ms", "failures": 1}})
        wait_for(lambda: self.alive(gateway) and gateway.control("/readiness")[0] == 503, "readiness to fall")
        answer = self.client(gateway).exchange(post(chat_body()))
        self.assert_error(answer, 503, "no_available_workers")
        self.assertIsNotNone(answer.head.get("Retry-After"))

    def test_bodies_over_the_common_budget_are_503(self):
        gateway = self.gateway(self.engine, config={"server": {"max_body": "128KiB", "body_budget": "128KiB"}})
        first = self.client(gateway)
        first.send(post(chat_body("a" * 100_000)))
        self.engine.accept().read_message()  # not answered: its body is kept for another attempt
        answer = self.client(gateway).exchange(post(chat_body("a" * 100_000)))
        self.assert_error(answer, 503, "body_budget_exhausted")
        self.assertIsNotNone(answer.head.get("Retry-After"))

    @staticmethod
    def alive(gateway):
        assert gateway.running(), f"the gateway has ended; log:\n{gateway.log()}"
        try:
            return gateway.control("/liveness")[0] == 200
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main()
