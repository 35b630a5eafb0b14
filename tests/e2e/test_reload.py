"""SIGHUP changes the configuration without a dropped request, SIGTERM ends the gateway without a silent one."""

import json
import signal
import unittest

from harness import (LAST_CHUNK, SSE_HEAD, Client, Closed, Scenario, chat_body, chunk, free_port, json_response, post,
                     sse_events, wait_for, worker)

EVENT = b"data: 1\n\n"
LONG, SHORT = ({"server": {"drain": limit}} for limit in ("20s", "200ms"))


class Streaming(Scenario):
    def stream(self, gateway, engine):
        """(client, the engine's connection) of a stream with its first event read."""
        client = self.client(gateway)
        client.send(post(chat_body(stream=True)))
        connection = engine.next_connection()
        connection.read_message()
        connection.send(SSE_HEAD + chunk(EVENT))
        self.assertEqual(200, client.read_head().status)
        self.assertEqual(EVENT, client.read_chunk())
        return client, connection

    def finish(self, client, connection):
        connection.send(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        self.assertEqual(b"data: [DONE]\n\n", client.read_chunked_rest()[0])


class Reload(Streaming):
    def setUp(self):
        super().setUp()
        self.old = self.raw_engine("old")
        self.new = self.raw_engine("new")
        self.gw = self.gateway(self.old)

    def urls(self):
        return sorted(one["url"] for one in self.gw.control("/workers")[1]["workers"]
                      if one["status"] != "draining")

    def reloaded(self, times=1):
        self.gw.reload()
        wait_for(lambda: self.gw.log().count('"reloaded"') >= times, "the reload")

    def reload_to(self, *engines, config=None):
        self.gw.configure(engines, config)
        self.gw.reload()
        wait_for(lambda: self.urls() == sorted(engine.url for engine in engines), "the new workers to be there")

    def test_new_workers_serve_new_requests_and_old_streams_go_on(self):
        client, connection = self.stream(self.gw, self.old)
        self.reload_to(self.new)
        self.assert_serves(self.gw, self.new)
        for _ in range(3):
            connection.send(chunk(EVENT))
            self.assertEqual(EVENT, client.read_chunk())
        self.finish(client, connection)
        self.assert_serves(self.gw, self.new)

    def test_a_clients_connection_outlives_the_reload(self):
        client, connection = self.stream(self.gw, self.old)
        self.finish(client, connection)
        self.reload_to(self.new)
        client.send(post(chat_body("after")))
        other = self.new.next_connection()
        self.assertEqual(chat_body("after"), other.read_message().body)
        other.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_routes_change(self):
        self.assertEqual(404, self.ask("other-model").status)
        self.reload_to(self.old, self.new, config={"discovery": [{"plugin": "static", "config": {"workers": [
            worker(self.old), dict(worker(self.new), models=["other-model"])]}}]})
        client = self.client(self.gw)
        client.send(post(json.dumps({"model": "other-model", "messages": []}).encode()))
        connection = self.new.next_connection()
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def ask(self, model):
        return self.client(self.gw).exchange(post(json.dumps({"model": model, "messages": []}).encode()))

    def test_a_bad_file_is_refused_with_its_place_and_the_old_one_serves_on(self):
        for text, place in (("server: {listen: [\n", "gateway.yaml"), ("servr: {}\n", "gateway.yaml:1"),
                            ('{"server": {"threads": "many"}}', "gateway.yaml:1"),
                            ('{"discovery": [{"plugin": "no-such-plugin"}]}', "no-such-plugin"), ("", "")):
            with self.subTest(text):
                before = len(self.gw.log())
                client, connection = self.stream(self.gw, self.old)
                self.gw.write_config(text)
                self.gw.reload()
                wait_for(lambda: "refused" in self.gw.log()[before:] or "reloaded" in self.gw.log()[before:],
                         "the log to tell of the reload")
                if text:
                    self.assertIn("refused", self.gw.log()[before:])
                    self.assertIn(place, self.gw.log()[before:])
                    self.finish(client, connection)
                    self.assert_serves(self.gw, self.old)
                else:  # an empty file is a configuration without workers; whatever it is, the stream goes on
                    self.finish(client, connection)

    def test_a_stream_lives_through_three_reloads(self):
        client, connection = self.stream(self.gw, self.old)
        for times, policy in enumerate(["round_robin", "random", "least_requests"], 1):
            self.gw.configure([self.old], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": policy}}]})
            self.reloaded(times)
            connection.send(chunk(EVENT))
            self.assertEqual(EVENT, client.read_chunk())
        self.finish(client, connection)

    def test_an_unknown_policy_is_refused_with_its_place(self):
        self.gw.configure([self.old], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": "powr_of_two"}}]})
        self.gw.reload()
        wait_for(lambda: "the reload is refused" in self.gw.log(), "the refusal")
        self.assertIn("powr_of_two", self.gw.log())
        self.assertRegex(self.gw.log(), r"gateway\.yaml:\d+:\d+: routes\[0\]\.policy")
        self.assert_serves(self.gw, self.old)

    def test_the_policy_that_a_reload_names_routes(self):
        for times, policy in enumerate(["round_robin", "random"], 1):
            self.gw.configure([self.old], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": policy}}]})
            self.reloaded(times)
            client = self.client(self.gw).send(post(chat_body(), headers=["X-Tidegate-Route: 1"]))
            connection = self.old.next_connection()
            connection.read_message()
            connection.send(json_response(headers=[b"Connection: close"]))
            self.assertIn(f"policy={policy};", client.read_message().head.get("X-Tidegate-Route"))

    def test_a_missing_file_is_refused(self):
        self.gw.config_path.unlink()
        self.gw.reload()
        wait_for(lambda: "refused" in self.gw.log(), "the log to tell of the reload")
        self.assert_serves(self.gw, self.old)

    def test_a_good_file_after_a_bad_one_is_taken(self):
        self.gw.write_config("servr: {}\n")
        self.gw.reload()
        wait_for(lambda: "refused" in self.gw.log(), "the log to tell of the reload")
        self.reload_to(self.new)
        self.assert_serves(self.gw, self.new)

    def test_many_reloads_under_load_lose_nothing(self):
        engines = [self.simulated_engine("--speed", "50") for _ in range(2)]
        gateway = self.gateway(*engines, name="busy")
        clients = [Client(gateway.port) for _ in range(8)]
        for number in range(12):
            for client in clients:
                client.send(post(chat_body(f"{number}", stream=number % 2 == 0, max_tokens=20)))
            gateway.configure(engines if number % 2 else engines[::-1],
                              {"routes": [{"match": {"model": "*"},
                                           "policy": ("round_robin", "least_requests", "random")[number % 3]}]})
            gateway.reload()
            for client in clients:
                answer = client.read_message()
                self.assertEqual(200, answer.status, answer)
                self.assertNotIn(b'"error"', answer.body)
        for client in clients:
            client.close()


class Drain(Streaming):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()

    def test_readiness_falls_while_the_last_stream_ends_then_exit_0(self):
        gateway = self.gateway(self.engine, config=LONG)
        client, connection = self.stream(gateway, self.engine)
        gateway.signal(signal.SIGTERM)
        wait_for(lambda: gateway.control("/readiness")[0] == 503, "readiness to fall")
        self.assertEqual(200, gateway.control("/liveness")[0])
        connection.send(chunk(EVENT))
        self.assertEqual(EVENT, client.read_chunk())
        self.finish(client, connection)
        self.assertEqual(0, gateway.wait())

    def test_without_requests_it_ends_at_once_with_0(self):
        gateway = self.gateway(self.engine, config=LONG)
        idle = self.client(gateway)
        self.assert_serves(gateway, self.engine)
        gateway.signal(signal.SIGTERM)
        self.assertEqual(0, gateway.wait())
        self.assertEqual(b"", idle.read_to_eof())

    def test_a_stream_beyond_the_limit_gets_an_error_event_and_exit_0(self):
        gateway = self.gateway(self.engine, config=SHORT)
        client, connection = self.stream(gateway, self.engine)
        gateway.signal(signal.SIGTERM)
        data, _ = client.read_chunked_rest()
        self.assertEqual("draining", json.loads(sse_events(data)[-1])["error"]["code"])
        connection.wait_closed()
        self.assertEqual(0, gateway.wait())

    def test_an_open_line_is_closed_before_the_error_event(self):
        gateway = self.gateway(self.engine, config=SHORT)
        client, connection = self.stream(gateway, self.engine)
        connection.send(chunk(b'data: {"half'))
        self.assertEqual(b'data: {"half', client.read_chunk())
        gateway.signal(signal.SIGTERM)
        rest, _ = client.read_chunked_rest()
        self.assertTrue(rest.startswith(b"\n"), rest)
        self.assertEqual("draining", json.loads(sse_events(rest)[-1])["error"]["code"])
        self.assertEqual(0, gateway.wait())

    def test_a_request_without_an_answer_beyond_the_limit_gets_503(self):
        gateway = self.gateway(self.engine, config=SHORT)
        client = self.client(gateway)
        client.send(post(chat_body()))
        self.engine.accept().read_message()
        gateway.signal(signal.SIGTERM)
        self.assert_error(client.read_message(), 503, "draining")
        self.assertEqual(0, gateway.wait())

    def test_a_body_cut_by_the_limit_does_not_look_complete(self):
        gateway = self.gateway(self.engine, config=SHORT)
        client = self.client(gateway)
        client.send(post(chat_body()))
        connection = self.engine.accept()
        connection.read_message()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        client.read_head()
        gateway.signal(signal.SIGTERM)
        with self.assertRaises(Closed):
            client.read_exactly(10)
        self.assertEqual(0, gateway.wait())

    def test_an_answer_while_draining_says_that_the_connection_closes(self):
        gateway = self.gateway(self.engine, config=LONG)
        client = self.client(gateway)
        client.send(post(chat_body()))
        connection = self.engine.accept()
        connection.read_message()
        gateway.signal(signal.SIGTERM)
        wait_for(lambda: self.refuses(gateway), "the gateway to stop listening")
        connection.send(json_response())
        answer = client.read_message()
        self.assertEqual((200, "close"), (answer.status, (answer.head.get("Connection") or "").lower()))
        self.assertEqual(b"", client.read_to_eof())
        self.assertEqual(0, gateway.wait())

    @staticmethod
    def refuses(gateway):
        try:
            Client(gateway.port).close()
            return False
        except ConnectionRefusedError:
            return True


class Start(Scenario):
    def test_a_wrong_configuration_ends_with_78_and_says_where(self):
        gateway = self.gateway("http://127.0.0.1:1", config={"server": {"threds": 2}}, ready=False)
        self.assertEqual(78, gateway.wait())
        self.assertRegex(gateway.log(), r"gateway\.yaml:\d+:\d+: server\.threds: .*threads")

    def test_an_address_in_use_ends_with_an_error_that_names_it(self):
        taken = self.raw_engine()
        gateway = self.gateway(taken, config={"server": {"listen": f"127.0.0.1:{taken.port}"}}, ready=False)
        self.assertNotEqual(0, gateway.wait())
        self.assertIn(str(taken.port), gateway.log())

    def test_an_engine_that_is_not_there_does_not_stop_the_start(self):
        self.gateway(f"http://127.0.0.1:{free_port()}")


if __name__ == "__main__":
    unittest.main()
