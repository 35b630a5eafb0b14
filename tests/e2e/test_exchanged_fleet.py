"""A fleet is exchanged for another: no request finds the old gone and the new not yet there."""

import threading
import unittest

from harness import Client, Scenario, chat_body, post, wait_for, worker
from probed import ProbedEngine

PROBING = {"health": {"enabled": True, "interval": "50ms", "timeout": "5s", "failures": 3, "successes": 1}}


class Exchanged(Scenario):
    def probed_engine(self, **options):
        engine = ProbedEngine(**options)
        self.addCleanup(engine.close)
        return engine

    def under_traffic(self, gateway, exchange):
        """Statuses of what four clients got while exchange(statuses) ran, and shortly before and after."""
        statuses, done = [], threading.Event()

        def ask():
            client = Client(gateway.port)
            asked = 0
            while asked < 20 or not done.is_set():
                statuses.append(client.exchange(post(chat_body())).status)
                asked += 1
            client.close()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            exchange(statuses)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        return set(statuses)

    @staticmethod
    def exchange_fleet(gateway, engines, statuses, config):
        """The new workers' health is known only when all clients wait for it."""
        for engine in engines:
            engine.hold_health(True)
        gateway.configure(engines, config)
        gateway.reload()
        urls = sorted(engine.url for engine in engines)

        def listed(**members):
            return sorted(one["url"] for one in gateway.control("/workers")[1]["workers"]
                          if all(one[key] == value for key, value in members.items())) == urls

        looks = []  # answers so far, look by look: five times the same says that nobody gets one

        def all_wait():
            looks.append(len(statuses))
            still = looks[-5:] == looks[-1:] * 5
            return still and "tidegate_requests_inflight 4" in gateway.metrics() or set(statuses) - {200}

        wait_for(listed, "the new workers to be there")
        wait_for(all_wait, "all requests to wait")
        for engine in engines:
            engine.hold_health(False)
        wait_for(lambda: listed(is_healthy=True), "the new workers to be ready")

    def test_all_workers_by_others_that_must_prove_their_health(self):
        fleets = [[self.probed_engine() for _ in range(2)] for _ in range(2)]
        gateway = self.gateway(*fleets[0], config=PROBING)

        def exchange(statuses):
            for times in range(6):
                self.exchange_fleet(gateway, fleets[(times + 1) % 2], statuses, PROBING)

        self.assertEqual({200}, self.under_traffic(gateway, exchange))

    def test_a_source_by_one_of_another_name(self):
        engines = [self.probed_engine() for _ in range(2)]
        gateway = self.gateway(engines[0], config=PROBING)

        def exchange(statuses):
            for times in range(6):
                engine = engines[(times + 1) % 2]
                source = {"name": f"source-{times}", "plugin": "static", "config": {"workers": [worker(engine)]}}
                self.exchange_fleet(gateway, [engine], statuses, dict(PROBING, discovery=[source]))

        self.assertEqual({200}, self.under_traffic(gateway, exchange))

    def test_what_is_said_of_a_worker_without_a_new_proof_of_health(self):
        engine = self.probed_engine()
        gateway = self.gateway(engine, config=PROBING)
        wait_for(lambda: gateway.control("/workers")[1]["workers"][0]["is_healthy"], "the worker to be healthy")
        engine.set_health(500)  # a fresh start would find this out before it served
        relabelled = dict(worker(engine), labels={"gpu": "b"})
        gateway.configure([relabelled], {"health": dict(PROBING["health"], interval="60s")})
        gateway.reload()
        wait_for(lambda: gateway.control("/workers")[1]["workers"][0]["labels"] == {"gpu": "b"}, "the label")
        self.assertEqual(200, self.client(gateway).exchange(post(chat_body())).status)

    def test_a_request_waits_for_the_first_health_check_of_a_start(self):
        engine = self.raw_engine()
        gateway = self.gateway(ready=False, config={"discovery": []})
        wait_for(lambda: self.listening(gateway), "the gateway to listen")
        gateway.configure([engine], PROBING)
        gateway.reload()
        wait_for(lambda: gateway.control("/workers")[1]["total"], "the worker to be there")
        probe = engine.accept()  # not answered yet
        client = self.client(gateway).send(post(chat_body()))
        wait_for(lambda: "tidegate_requests_inflight 1" in gateway.metrics(), "the request to wait")
        probe.read_head()
        probe.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection = engine.accept()
        self.assertEqual(chat_body(), connection.read_message().body)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        self.assertEqual(200, client.read_message().status)

    @staticmethod
    def listening(gateway):
        try:
            return gateway.control("/liveness")[0] == 200
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main()
