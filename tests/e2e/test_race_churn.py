"""Everything at once: two loops, requests, membership that churns, three reloads, a drain. What the sanitizers watch."""

import json
import signal
import threading
import unittest

from harness import Scenario, chat_body, http, post, wait_for, worker

REQUESTS_A_CLIENT = 60
CYCLES = 5  # at least, of a worker added and removed


class Churn(Scenario):
    def test_requests_survive_churn_and_three_reloads(self):
        engines = [self.simulated_engine("--speed", "200", "--seed", str(n)) for n in range(3)]
        policies = ["power_of_two", "round_robin", "least_requests", "random"]

        def routes(policy):
            return {"routes": [{"match": {"model": "*"}, "policy": {"plugin": policy}}],
                    "health": {"enabled": True, "interval": "100ms"}}

        gateway = self.gateway(engines[0], engines[1], config=routes(policies[0]))
        statuses, broken, done = [], [], threading.Event()
        cycles, churn_broken = [], []

        def ask(number):
            for n in range(REQUESTS_A_CLIENT):
                stream = (n + number) % 2 == 0
                try:
                    with_stream = chat_body(f"{number} {n} " + "x" * (n * 37 % 2000), stream=stream, max_tokens=4)
                    client = self.client(gateway)
                    answer = client.send(post(with_stream)).read_message("POST")
                    statuses.append(answer.status)
                    if stream and b"[DONE]" not in answer.body:
                        broken.append(answer)
                    client.close()
                except (AssertionError, OSError) as error:
                    broken.append(error)

        def churn():
            try:
                while not done.is_set() or len(cycles) < CYCLES:
                    status, answer = gateway.control("/workers", "POST", worker(engines[2]))
                    assert status == 202, answer
                    status, answer = gateway.control(f"/workers/{answer['worker_id']}", "DELETE")
                    assert status == 202, answer
                    cycles.append(http(gateway.url("/v1/models"))[0])
                    gateway.metrics()
            except (AssertionError, OSError, KeyError) as error:
                churn_broken.append(error)

        churner = threading.Thread(target=churn)
        clients = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
        churner.start()
        for client in clients:
            client.start()
        for reloads, policy in enumerate(policies[1:], 1):
            wanted = len(clients) * REQUESTS_A_CLIENT * reloads // 5
            wait_for(lambda: len(statuses) + len(broken) >= wanted, "requests between two reloads")
            gateway.configure([engines[0], engines[1]], routes(policy))
            gateway.reload()
            wait_for(lambda: gateway.log().count('"reloaded"') >= reloads, "the reload")
        for client in clients:
            client.join()
        done.set()
        churner.join()
        self.assertEqual([], churn_broken)
        self.assertGreaterEqual(len(cycles), CYCLES)
        self.assertEqual([200], sorted(set(cycles)))
        self.assertEqual([], broken)
        self.assertEqual([200], sorted(set(statuses)))
        self.assertEqual(len(clients) * REQUESTS_A_CLIENT, len(statuses))
        wait_for(lambda: sum(w["load"] for w in gateway.control("/workers")[1]["workers"]) == 0, "counts to return to zero")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(0, gateway.wait())


if __name__ == "__main__":
    unittest.main()
