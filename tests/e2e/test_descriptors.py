"""Out of descriptors: who comes is refused politely, the gateway does not spin, and serves on once there are some.

The limit of the running gateway is lowered from outside, so that the scenario knows the moment.
"""

import contextlib
import os
import resource
import unittest

from harness import Client, Scenario, accept_any, chat_body, get, json_response, post, wait_for

BODY = chat_body()
ONE_LOOP = {"server": {"threads": 1}}


class Exhaustion(Scenario):
    def limit(self, gateway, descriptors):
        _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (descriptors, hard))

    def restore(self, gateway):
        _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (hard, hard))

    def take_all(self, gateway):
        """Idle clients fill the gaps in the table of descriptors; then no other number may be given out."""
        def used():
            return {int(number) for number in os.listdir(f"/proc/{gateway.pid}/fd")}
        while set(range(max(now := used()) + 1)) - now:
            self.client(gateway).exchange(get("/liveness"))
        self.limit(gateway, max(now) + 1)

    def refused(self, gateway):
        """The answer to a client for which there is no descriptor. Who still finds one, given back late, stays."""
        for _ in range(50):
            client = self.client(gateway)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it could ask
                client.send(get("/v1/models"))
            answer = client.read_message()
            if answer.status != 200:
                client.close()
                return answer
        self.fail("clients are served without end")

    def test_clients_get_503_without_a_spin_and_full_service_afterwards(self):
        engine = self.raw_engine()
        # Kept connections would give theirs back in the middle of it, and one loop takes what another one gives up
        # for a moment to refuse.
        gateway = self.gateway(engine, config={**ONE_LOOP, "upstream": {"keep_alive_idle": "0s"}})
        self.assert_serves(gateway, engine)
        self.take_all(gateway)
        self.refused(gateway)
        before = gateway.cpu_seconds()
        for _ in range(20):
            answer = self.refused(gateway)
            self.assert_error(answer, 503, "out_of_descriptors")
            self.assertGreaterEqual(int(answer.head.get("Retry-After")), 1)
        # Accepting rests a tenth of a second after each helping: a loop that span meanwhile would have burnt that.
        self.assertLess(gateway.cpu_seconds() - before, 0.5)
        self.restore(gateway)
        # Accepting may still rest: the client waits that long in the queue, and is served.
        self.assertEqual(200, self.client(gateway).exchange(get("/v1/models")).status)
        self.assert_serves(gateway, engine, times=8)

    def test_a_request_without_a_descriptor_for_its_engine_is_503_and_no_engines_fault(self):
        engines = [self.raw_engine("one"), self.raw_engine("two")]
        gateway = self.gateway(*engines, config=ONE_LOOP)
        client = self.client(gateway)
        client.exchange(get("/v1/models"))
        self.take_all(gateway)
        self.refused(gateway)
        answer = client.exchange(post(BODY))
        self.assert_error(answer, 503, "out_of_descriptors")
        self.assertIsNotNone(answer.head.get("Retry-After"))
        self.assertTrue(all(engine.untouched() for engine in engines))
        self.restore(gateway)
        errors = [line for line in gateway.metrics().splitlines()
                  if line.startswith("tidegate_worker_errors_total") and not line.endswith(" 0")]
        self.assertEqual([], errors, "charged to an engine")
        client.send(post(BODY))  # the connection has been kept
        _, connection = accept_any(engines)
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)

    def test_an_idle_connection_to_another_engine_makes_way(self):
        engines = [self.raw_engine("one"), self.raw_engine("two")]
        gateway = self.gateway(*engines, config={**ONE_LOOP, "routes": [
            {"match": {"model": "*"}, "policy": "round_robin"}]})
        client = self.client(gateway)
        client.send(post(BODY))
        first, idle = accept_any(engines)
        idle.read_message()
        idle.send(json_response())
        self.assertEqual(200, client.read_message().status)
        self.take_all(gateway)
        client.send(post(BODY))
        second, connection = accept_any(engines)
        self.assertIsNot(first, second)
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        idle.wait_closed()


class Connections(Scenario):
    def test_above_max_connections_clients_get_503_until_one_goes(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine, config={"server": {"max_connections": 3}})
        idle = [self.client(gateway) for _ in range(3)]
        for client in idle:
            self.assertEqual(200, client.exchange(get("/v1/models")).status)
        answer = self.client(gateway).exchange(get("/v1/models"))
        self.assert_error(answer, 503, "too_many_connections")
        self.assertGreaterEqual(int(answer.head.get("Retry-After")), 1)
        idle.pop().close()

        def served():
            with contextlib.closing(Client(gateway.port)) as client:
                return client.exchange(get("/v1/models")).status == 200
        wait_for(served, "the place to be free again")

    def test_idle_clients_never_take_what_requests_need_to_reach_an_engine(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (300, hard))
        gateway.reload()  # which looks at the limit anew
        wait_for(lambda: '"reloaded"' in gateway.log(), "the reload")
        idle = self.client(gateway)
        last = idle.exchange(get("/v1/models"))
        for _ in range(300):
            if last.status != 200:
                break
            last = self.client(gateway).exchange(get("/v1/models"))
        self.assert_error(last, 503, "too_many_connections")
        idle.send(post(BODY))
        connection = engine.accept()
        connection.read_message()
        connection.send(json_response())
        self.assertEqual(200, idle.read_message().status)

    def test_the_limit_follows_a_reload(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine, config={"server": {"max_connections": 1}})
        first = self.client(gateway)
        first.exchange(get("/v1/models"))
        self.assertEqual(503, self.client(gateway).exchange(get("/v1/models")).status)
        gateway.configure([engine], {"server": {"max_connections": 50}})
        gateway.reload()

        def served():
            with contextlib.closing(Client(gateway.port)) as client:
                return client.exchange(get("/v1/models")).status == 200
        wait_for(served, "the new limit to hold")


if __name__ == "__main__":
    unittest.main()
