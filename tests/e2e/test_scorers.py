"""Scorers: `weighted` adds up what `queue` and `inflight_tokens` say, and goes on without one that goes wrong."""

import unittest

from harness import chat_body, json_response, post, wait_for
from legs_support import PolicyScenario, fleet_load, instance, routed_by

SCORERS = [{"plugin": "queue", "weight": 2}, {"plugin": "inflight_tokens"}]


class Weighted(PolicyScenario):
    def serve(self, *scorers):
        self.engines = [self.raw_engine(f"engine {n}") for n in range(3)]
        policy = {"plugin": "weighted", "config": {"scorers": list(scorers)}}
        self.proxy = self.gateway(*self.engines, config=routed_by(policy))

    def ask(self):
        return self.client(self.proxy).send(post(chat_body(), headers=["X-Tidegate-Route: 1"]))

    def busy(self):
        """The slots that have requests under way."""
        return [slot for slot, (requests, _) in enumerate(fleet_load(self.proxy)) if requests]

    def test_requests_go_where_the_fewest_are(self):
        self.serve(*SCORERS)
        clients, taken = [], []
        for count in range(1, 4):  # none is answered: each goes to an engine of its own
            clients.append(self.ask())
            wait_for(lambda: len(self.busy()) == count, f"{count} engines to be busy")
        for engine in self.engines:
            taken.append(engine.next_connection())
            taken[-1].read_message()
        taken[1].send(json_response())  # the second is idle now: whatever comes goes there
        wait_for(lambda: self.busy() == [0, 2], "the second engine to be idle")
        for _ in range(3):
            clients.append(self.ask())
            taken[1].read_message()
            taken[1].send(json_response())
            self.assertIn("policy=weighted", clients[-1].read_message().head.get("X-Tidegate-Route"))
        told = instance(self.proxy)
        self.assertEqual(["queue", "inflight_tokens"], [child["component"] for child in told["children"]])
        self.assertEqual(["all/scorers/0", "all/scorers/1"], [child["instance"] for child in told["children"]])
        self.assertEqual([{}, {}], [child["slips"] for child in told["children"]])
        for connection in taken[0], taken[2]:
            connection.send(json_response())
        self.assert_no_load(self.proxy)

    def test_a_scorer_that_goes_wrong_is_left_out_and_then_quarantined(self):
        self.serve({"plugin": "bad_scorer", "weight": 100}, *SCORERS)
        held = self.ask()
        wait_for(self.busy, "the first request")
        busy = self.busy()
        idle = [engine for slot, engine in enumerate(self.engines) if slot not in busy]
        connections = {}
        for _ in range(20):
            client = self.ask()
            wait_for(lambda: len(self.busy()) == 2, "the request's engine")
            slot = next(slot for slot in self.busy() if slot not in busy)
            engine = self.engines[slot]
            self.assertIn(engine, idle)
            connection = connections.setdefault(slot, None) or engine.next_connection()
            connections[slot] = connection
            connection.read_message()
            connection.send(json_response())
            self.assertIn("policy=weighted", client.read_message().head.get("X-Tidegate-Route"))
        bad = instance(self.proxy)["children"][0]
        self.assertEqual(("bad_scorer", "slips", {"score": 16}), (bad["component"], bad["quarantined"], bad["slips"]))
        self.assertIsNone(instance(self.proxy)["quarantined"])
        self.assertEqual({}, instance(self.proxy)["slips"])
        held.close()
        self.assert_no_load(self.proxy)


if __name__ == "__main__":
    unittest.main()
