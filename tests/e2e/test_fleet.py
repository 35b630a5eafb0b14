"""The fleet as its operators see it: workers, health, probes, metrics."""

import re
import unittest

from harness import (MODEL, Scenario, accept_any, chat_body, get, http, json_response, post, wait_for,
                     worker)
from probed import ProbedEngine

PROBING = {"health": {"enabled": True, "interval": "50ms", "timeout": "1s", "failures": 3, "successes": 2}}


class Fleet(Scenario):
    def probed_engine(self, **options):
        engine = ProbedEngine(**options)
        self.addCleanup(engine.close)
        return engine

    def workers(self, gateway):
        return {one["url"]: one for one in gateway.control("/workers")[1]["workers"]}

    def ask(self, gateway, model=MODEL):
        return self.client(gateway).exchange(post(chat_body().replace(MODEL.encode(), model.encode())))

    @staticmethod
    def listening(gateway):
        try:
            return gateway.control("/liveness")[0] == 200
        except OSError:
            return False


class Workers(Fleet):
    def test_they_are_listed_with_what_the_configuration_says(self):
        engines = [self.raw_engine() for _ in range(2)]
        gateway = self.gateway(worker(engines[0], labels={"gpu": "a"}), engines[1])
        status, listed = gateway.control("/workers")
        self.assertEqual(200, status)
        self.assertEqual(2, listed["total"])
        self.assertEqual({"prefill_count": 0, "decode_count": 0, "regular_count": 2}, listed["stats"])
        one = self.workers(gateway)[engines[0].url]
        self.assertEqual((True, "ready", 0, [MODEL], "regular", {"gpu": "a"}),
                         tuple(one[key] for key in ("is_healthy", "status", "load", "models", "worker_type", "labels")))
        self.assertEqual(one, gateway.control(f"/workers/{one['id']}")[1])

    def test_one_comes_serves_and_goes_by_hand(self):
        gateway = self.gateway(config={"discovery": []}, ready=False)
        wait_for(lambda: gateway.running() and self.listening(gateway), "the gateway to listen")
        self.assert_error(self.client(gateway).exchange(post(chat_body())), 503, "no_available_workers")
        engine = self.raw_engine()
        status, answer = gateway.control("/workers", "POST", worker(engine))
        self.assertEqual((202, "accepted"), (status, answer["status"]))
        gateway.wait_ready()
        self.assertEqual(409, gateway.control("/workers", "POST", worker(engine))[0])
        self.assert_serves(gateway, engine)
        status, one = gateway.control(f"/workers/{answer['worker_id']}")
        self.assertEqual((200, engine.url, "ready", 0), (status, one["url"], one["status"], one["load"]))
        self.assertEqual(202, gateway.control(f"/workers/{answer['worker_id']}", "DELETE")[0])
        self.assertEqual(0, gateway.control("/workers")[1]["total"])
        self.assertEqual(404, gateway.control(f"/workers/{answer['worker_id']}")[0])
        self.assert_error(self.client(gateway).exchange(post(chat_body())), 503, "no_available_workers")

    def test_the_list_filters_by_model(self):
        gateway = self.gateway(self.raw_engine())
        self.assertEqual(1, gateway.control(f"/workers?model={MODEL}")[1]["total"])
        self.assertEqual(0, gateway.control("/workers?model=other")[1]["total"])

    def test_one_that_is_there_already_is_409(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        status, answer = gateway.control("/workers", "POST", {"url": engine.url})
        self.assertEqual((409, "WORKER_ALREADY_EXISTS"), (status, answer["code"]))

    def test_what_is_no_worker_is_400(self):
        gateway = self.gateway(self.raw_engine())
        for body in ({}, {"url": 7}, {"url": "ftp://x"}, {"url": "nonsense"}, ["x"],
                     {"url": "http://127.0.0.1:1", "worker_type": "odd"}):
            with self.subTest(body):
                status, answer = gateway.control("/workers", "POST", body)
                self.assertEqual((400, "BAD_REQUEST"), (status, answer.get("code")))

    def test_one_that_is_removed_takes_no_more_and_ends_what_it_has(self):
        gone, stays = self.raw_engine("gone"), self.raw_engine("stays")
        gateway = self.gateway(gone)
        client = self.client(gateway)
        client.send(post(chat_body()))
        connection = gone.accept()
        connection.read_message()
        gateway.control("/workers", "POST", {"url": stays.url, "models": [MODEL]})
        wait_for(lambda: self.workers(gateway).get(stays.url, {}).get("status") == "ready", "the other to be ready")
        identity = self.workers(gateway)[gone.url]["id"]
        self.assertEqual(202, gateway.control(f"/workers/{identity}", "DELETE")[0])
        wait_for(lambda: self.workers(gateway).get(gone.url, {}).get("status") in (None, "draining"), "the removal")
        for _ in range(4):
            self.assert_serves(gateway, stays)
        connection.send(json_response(b'{"late":1}'))
        self.assertEqual(b'{"late":1}', client.read_message().body)
        wait_for(lambda: gone.url not in self.workers(gateway), "the worker to be forgotten")

    def test_an_unknown_one_is_404(self):
        gateway = self.gateway(self.raw_engine())
        for method in ("GET", "DELETE"):
            status, answer = gateway.control("/workers/00000000-0000-4000-8000-000000000000", method)
            self.assertEqual((404, "WORKER_NOT_FOUND"), (status, answer["code"]))

    def test_load_is_what_is_under_way(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        clients = [self.client(gateway) for _ in range(3)]
        for client in clients:
            client.send(post(chat_body()))
            engine.accept().read_message()
        self.assertEqual(3, self.workers(gateway)[engine.url]["load"])
        for client, connection in zip(clients, engine.connections):
            connection.send(json_response())
        for client in clients:
            client.read_message()
        wait_for(lambda: self.workers(gateway)[engine.url]["load"] == 0, "the load to fall")

    def test_they_are_served_on_the_data_port_too(self):
        gateway = self.gateway(self.raw_engine())
        answer = self.client(gateway).exchange(get("/workers"))
        self.assertEqual((200, 1), (answer.status, answer.json()["total"]))

    def test_a_token_guards_writing(self):
        gateway = self.gateway(self.raw_engine(), config={"control": {"token": "opensesame"}})
        body = b'{"url":"http://127.0.0.1:1"}'
        for headers, status in ((), 401), (["Authorization: Bearer wrong"], 401), (
                ["Authorization: Bearer opensesame"], 202):
            with self.subTest(headers):
                answer = self.client(gateway).exchange(post(body, "/workers", headers))
                self.assertEqual(status, answer.status, answer)


class Models(Fleet):
    def test_the_list_is_the_union_of_the_workers(self):
        one, two = self.raw_engine(), self.raw_engine()
        gateway = self.gateway({"url": one.url, "models": ["a", "b"]}, {"url": two.url, "models": ["b", "c"]})
        listed = self.client(gateway).exchange(get("/v1/models")).json()
        self.assertEqual(["a", "b", "c"], sorted(model["id"] for model in listed["data"]))
        self.assertEqual({"model"}, {model["object"] for model in listed["data"]})

    def test_a_request_goes_only_to_who_has_its_model(self):
        one, two = self.probed_engine(), self.probed_engine()
        gateway = self.gateway({"url": one.url, "models": ["a"]}, {"url": two.url, "models": ["b"]})
        for _ in range(8):
            self.assertEqual(one.port, self.ask(gateway, "a").json()["port"])
            self.assertEqual(two.port, self.ask(gateway, "b").json()["port"])


class Policies(Fleet):
    def spread(self, policy, requests=40):
        engines = [self.probed_engine() for _ in range(2)]
        gateway = self.gateway(*engines, config={"routes": [{"match": {"model": "*"}, "policy": policy}]})
        for _ in range(requests):
            self.assertEqual(200, self.ask(gateway).status)
        return sorted(len(engine.requests) for engine in engines)

    def test_every_policy_uses_all_workers(self):
        for policy in ("random", "round_robin", "power_of_two", "least_requests"):
            with self.subTest(policy):
                self.assertGreater(self.spread(policy)[0], 4)

    def test_least_requests_goes_to_the_idle_worker(self):
        busy, idle = self.raw_engine("busy"), self.raw_engine("idle")
        gateway = self.gateway(busy, idle, config={"routes": [{"match": {"model": "*"},
                                                               "policy": "least_requests"}]})
        first = self.client(gateway)
        first.send(post(chat_body()))
        taken, connection = accept_any([busy, idle])
        connection.read_message()
        other = idle if taken is busy else busy
        for _ in range(6):
            self.assert_serves(gateway, other)


class Health(Fleet):
    def test_three_failures_take_a_worker_out_and_two_successes_bring_it_back(self):
        flaky, steady = self.probed_engine(), self.probed_engine()
        gateway = self.gateway(flaky, steady, config=PROBING)
        wait_for(lambda: all(one["is_healthy"] for one in self.workers(gateway).values()), "both to be healthy")
        flaky.set_health(500)
        wait_for(lambda: not self.workers(gateway)[flaky.url]["is_healthy"], "the worker to be taken out")
        flaky.requests.clear()
        for _ in range(8):
            self.assertEqual(steady.port, self.ask(gateway).json()["port"])
        self.assertEqual([], flaky.requests)
        flaky.set_health(200)
        wait_for(lambda: self.workers(gateway)[flaky.url]["is_healthy"], "the worker to be back")

    def test_fewer_failures_than_the_threshold_change_nothing(self):
        flaky = self.probed_engine()
        gateway = self.gateway(flaky, config={"health": dict(PROBING["health"], failures=100)})
        wait_for(lambda: self.workers(gateway)[flaky.url]["is_healthy"], "the worker to be healthy")
        flaky.set_health(500)
        flaky.wait_probes(5)
        self.assertTrue(self.workers(gateway)[flaky.url]["is_healthy"])
        self.assertEqual(200, self.ask(gateway).status)

    def test_a_connection_closed_without_an_answer_is_a_failure(self):
        flaky = self.probed_engine()
        gateway = self.gateway(flaky, config=PROBING)
        flaky.set_health(0)
        wait_for(lambda: not self.workers(gateway)[flaky.url]["is_healthy"], "the worker to be taken out")

    def test_a_hung_probe_is_a_failure(self):
        hung = self.raw_engine()
        gateway = self.gateway(hung, ready=False, config={"health": dict(PROBING["health"], timeout="50ms")})
        hung.accept().read_head()
        wait_for(lambda: self.listening(gateway) and not self.workers(gateway)[hung.url]["is_healthy"],
                 "the worker to be taken out")

    def test_readiness_follows_health_and_liveness_does_not(self):
        engine = self.probed_engine()
        gateway = self.gateway(engine, config=PROBING)
        engine.set_health(503)
        wait_for(lambda: gateway.control("/readiness")[0] == 503, "readiness to fall")
        self.assertEqual(200, gateway.control("/liveness")[0])
        answer = self.ask(gateway)
        self.assert_error(answer, 503, "no_available_workers")
        engine.set_health(200)
        wait_for(lambda: gateway.control("/readiness")[0] == 200, "readiness to rise")

    def test_an_http_1_0_engine_is_probed_and_served(self):
        engine = self.probed_engine(version="HTTP/1.0")
        gateway = self.gateway(engine, config=PROBING)
        engine.wait_probes(3)
        self.assertTrue(self.workers(gateway)[engine.url]["is_healthy"])
        self.assertEqual(engine.port, self.ask(gateway).json()["port"])

    def test_probes_go_to_the_configured_path(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine, ready=False, config={"health": dict(PROBING["health"], path="/up?x=1")})
        self.assertEqual("GET /up?x=1 HTTP/1.1", engine.accept().read_head().start)
        self.assertTrue(gateway.running())



class Faces(Fleet):
    def test_probes_answer_on_every_port(self):
        gateway = self.gateway(self.raw_engine())
        for port in (gateway.port, gateway.control_port, gateway.metrics_port):
            for path in ("/liveness", "/readiness", "/health"):
                with self.subTest(f"{port}{path}"):
                    self.assertEqual(200, http(f"http://127.0.0.1:{port}{path}")[0])

    def test_metrics_tell_of_requests_tokens_workers_and_plugins(self):
        engine = self.simulated_engine("--speed", "2")  # slow enough for tokens to come one by one
        gateway = self.gateway(engine)
        client = self.client(gateway)
        for _ in range(3):
            self.assertEqual(200, client.exchange(post(chat_body(max_tokens=10))).status)
        client.exchange(post(chat_body(stream=True, max_tokens=10, stream_options={"include_usage": True})))
        # Counted when all of it is over, which is after the client has its last byte.
        wait_for(lambda: self.total(gateway.metrics(), "tidegate_requests_total", 'code="200"') == 4, "the count")
        text = gateway.metrics()
        for name in ("requests_total", "request_duration_seconds_bucket", "ttft_seconds_bucket",
                     "inter_token_seconds_bucket", "tokens_total", "gateway_overhead_seconds_bucket",
                     "worker_requests_total", "worker_inflight", "worker_state", "plugin_slips_total",
                     "retries_total", "build_info", "loop_busy_seconds_total", "loop_delay_seconds_bucket",
                     "plugin_timed_calls_total", "plugin_timed_call_seconds_total"):
            self.assertRegex(text, rf"(?m)^tidegate_{name}\b", name)
        self.assertEqual(4, self.total(text, "tidegate_worker_requests_total"))
        self.assertEqual(4, self.total(text, "tidegate_requests_total", 'code="200"'))
        self.assertEqual(40, self.total(text, "tidegate_tokens_total", 'kind="output"', 'source="usage"'))
        for name in ("tidegate_loop_wait_seconds_total", "tidegate_loop_delay_seconds_count",
                     "tidegate_plugin_timed_calls_total", "tidegate_plugin_timed_call_seconds_total"):
            wait_for(lambda: self.total(gateway.metrics(), name) > 0, name)  # told once a second

    def test_every_metric_has_help_and_type(self):
        gateway = self.gateway(self.raw_engine())
        text = gateway.metrics()
        typed = set(re.findall(r"(?m)^# TYPE (\S+)", text))
        described = set(re.findall(r"(?m)^# HELP (\S+)", text))
        names = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in typed else name
                 for name in re.findall(r"(?m)^([a-z]\w+)[{ ]", text)}
        self.assertEqual(set(), names - typed)
        self.assertEqual(set(), names - described)

    @staticmethod
    def total(text, name, *labels):
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if re.match(rf"{name}[{{ ]", line) and all(label in line for label in labels))


if __name__ == "__main__":
    unittest.main()
