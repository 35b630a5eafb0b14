"""The fleet as an operator sees it: /workers, health, probes, metrics."""

import unittest

from harness import MODEL, Scenario, chat_body, http, json_response, post, wait_for, worker


class Workers(Scenario):
    def test_a_worker_comes_serves_and_goes_by_hand(self):
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

    def listening(self, gateway):
        try:
            return gateway.control("/liveness")[0] == 200
        except OSError:
            return False

    def test_a_bad_worker_is_refused_with_the_reason(self):
        gateway = self.gateway(self.raw_engine())
        for body in ({"url": "ftp://x"}, {"url": 3}, {}, {"url": "http://127.0.0.1:1", "worker_type": "odd"}):
            status, answer = gateway.control("/workers", "POST", body)
            self.assertEqual((400, "BAD_REQUEST"), (status, answer["code"]), answer)

    def test_a_removed_worker_lets_its_request_end(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine, self.raw_engine("other"))
        clients = [self.client(gateway).send(post(chat_body())) for _ in range(8)]
        connection = engine.accept()
        connection.read_message()
        mine = next(w for w in gateway.control("/workers")[1]["workers"] if w["url"] == engine.url)
        self.assertGreater(mine["load"], 0)
        gateway.control(f"/workers/{mine['id']}", "DELETE")
        connection.send(json_response())
        wait_for(lambda: any(self.answered(client) for client in clients), "the answer of the removed worker")

    def answered(self, client):
        client.sock.settimeout(0.05)
        try:
            return client.read_message().status == 200
        except AssertionError:
            return False

    def test_the_list_filters_by_model(self):
        gateway = self.gateway(self.raw_engine())
        self.assertEqual(1, gateway.control(f"/workers?model={MODEL}")[1]["total"])
        self.assertEqual(0, gateway.control("/workers?model=other")[1]["total"])


class Health(Scenario):
    def test_a_worker_that_fails_its_checks_gets_no_requests_until_it_is_well_again(self):
        sick, well = self.simulated_engine("--speed", "200"), self.simulated_engine("--speed", "200")
        gateway = self.gateway(sick, well, config={"health": {"enabled": True, "interval": "50ms", "timeout": "500ms",
                                                              "failures": 2, "successes": 2}})
        states = lambda: {w["url"]: w["status"] for w in gateway.control("/workers")[1]["workers"]}  # noqa: E731
        wait_for(lambda: states() == {sick.url: "ready", well.url: "ready"}, "both to be ready")
        sick.faults(refuse=1, refuse_for_ms=2000)
        wait_for(lambda: states()[sick.url] == "not_ready", "the sick one to be found")
        for _ in range(10):
            answer = self.client(gateway).exchange(post(chat_body(max_tokens=2)))
            self.assertEqual(200, answer.status)
            self.assertEqual(well.name, answer.head.get("x-engine-id"))
        wait_for(lambda: states()[sick.url] == "ready", "it to be taken back")


class Probes(Scenario):
    def test_readiness_falls_without_workers_and_liveness_stays(self):
        gateway = self.gateway("http://127.0.0.1:9", config={"health": {"enabled": True, "interval": "50ms"}}, ready=False)
        wait_for(lambda: self.up(gateway), "the gateway to listen")
        self.assertEqual(200, gateway.control("/liveness")[0])
        self.assertEqual(200, gateway.control("/health")[0])
        status, answer = gateway.control("/readiness")
        self.assertEqual((503, "not ready"), (status, answer["status"]))

    def up(self, gateway):
        assert gateway.running(), gateway.log()
        try:
            return gateway.control("/liveness")[0] == 200
        except OSError:
            return False

    def test_models_are_merged_from_the_fleet(self):
        a, b = self.raw_engine("a"), self.raw_engine("b")
        gateway = self.gateway(worker(a), worker(b, models=["other", MODEL]))
        status, _, body = http(gateway.url("/v1/models"))
        self.assertEqual(200, status)
        for name in (MODEL, "other"):
            self.assertEqual(1, body.count(f'"id":"{name}"'.encode()), body)

    def test_metrics_tell_requests_tokens_and_times(self):
        engine = self.simulated_engine("--speed", "200")
        gateway = self.gateway(engine)
        self.assertEqual(200, self.client(gateway).exchange(post(chat_body(max_tokens=3))).status)
        stream = self.client(gateway).exchange(post(chat_body(max_tokens=3, stream=True)))
        self.assertIn(b"[DONE]", stream.body)
        text = gateway.metrics()
        for line in ('tidegate_requests_total{', 'tidegate_ttft_seconds_count{',
                     'tidegate_tokens_total{', 'tidegate_gateway_overhead_seconds_count', 'tidegate_worker_requests_total{',
                     'tidegate_worker_inflight{', 'tidegate_build_info{', 'tidegate_discovery_'):
            self.assertIn(line, text)
        self.assertIn("# TYPE tidegate_requests_total counter", text)


if __name__ == "__main__":
    unittest.main()
