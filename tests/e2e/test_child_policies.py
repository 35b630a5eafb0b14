"""Policies below policies: a child's plan, its captures and its transform, behind a leg of the parent's own."""

import json
import unittest

from harness import chat_body, json_response, post
from legs_support import PolicyScenario, instance, routed_by


class Children(PolicyScenario):
    def serve(self, child, **config):
        self.engines = [self.raw_engine(f"engine {n}") for n in range(2)]
        policy = {"plugin": "mirror", "config": {"child": child, **config}} if child else "merging"
        self.proxy = self.gateway(*self.engines, config=routed_by(policy))

    def answer(self, engine, body):
        connection = engine.next_connection()
        request = connection.read_message()
        connection.send(json_response(body))
        return request

    def ask(self, plan=""):
        return self.client(self.proxy).send(post(chat_body(), headers=[f"X-Plan: {plan}"]))

    def merged(self, mirrored):
        client = self.ask()
        if mirrored:
            self.answer(self.engines[0], b'{"of":"mirror"}')
        self.answer(self.engines[0], b'{"n":1}')
        self.answer(self.engines[1], b'{"n":2}')
        answer = client.read_message()
        self.assertEqual(200, answer.status)
        self.assert_no_load(self.proxy)
        return json.loads(answer.body)

    def test_a_policy_merges_what_its_legs_answered(self):
        self.serve(None)
        self.assertEqual({"first": {"n": 1}, "second": {"n": 2}}, self.merged(mirrored=False))

    def test_a_childs_transform_sees_the_legs_of_its_own_plan(self):
        self.serve("merging")
        self.assertEqual({"first": {"n": 1}, "second": {"n": 2}}, self.merged(mirrored=True))

    def test_a_parents_transform_comes_after_its_childs(self):
        self.serve("merging", wrap=True)
        self.assertEqual([{"first": {"n": 1}, "second": {"n": 2}}], self.merged(mirrored=True))

    def test_a_childs_captures_come_from_the_leg_that_it_meant(self):
        self.serve("two_legs")
        client = self.ask("capture")
        self.answer(self.engines[0], b'{"kv":"of the mirror"}')
        self.answer(self.engines[0], b'{"kv":"of the first"}')
        second = self.answer(self.engines[1], b"{}")
        self.assertEqual("of the first", json.loads(second.body)["kv_params"])
        self.assertEqual(200, client.read_message().status)
        self.assert_no_load(self.proxy)
        child = instance(self.proxy)["children"][0]
        self.assertEqual(("all/child", "two_legs"), (child["instance"], child["component"]))
        self.assertEqual({"legs": 2, "outcomes": [2, 0, 0, 0, 0]}, child["state"])


if __name__ == "__main__":
    unittest.main()
