"""What a policy lives through: tables that can't be built, what picks remember, what it gets to see."""

import unittest

from harness import chat_body, json_response, post, wait_for
from legs_support import PolicyScenario, instance, logged, routed_by


class Observed(PolicyScenario):
    def serve(self, engines=1, **config):
        self.engines = [self.raw_engine(f"engine {n}") for n in range(engines)]
        self.config = routed_by({"plugin": "observer", "config": config})
        self.proxy = self.gateway(*self.engines, config=self.config)

    def seen(self, body=None, headers=()):
        """(head of the request that the first engine got, policy that chose)"""
        client = self.client(self.proxy).send(post(body or chat_body(), headers=["X-Tidegate-Route: 1", *headers]))
        connection = self.engines[0].next_connection()
        request = connection.read_message()
        connection.send(json_response())
        answer = client.read_message()
        connection.close()
        self.assertEqual(200, answer.status)
        words = dict(word.split("=", 1) for word in answer.head.get("X-Tidegate-Route").split("; "))
        return request.head, words["policy"]


class Seen(Observed):
    def test_the_key_and_the_spans_of_the_prompt(self):
        self.serve()
        body = (b'{"model":"llama-3-8b","messages":[{"role":"system","content":"be brief"},'
                b'{"role":"user","content":"a \\"b\\""}]}')
        head, policy = self.seen(body, ["X-SMG-Routing-Key: alice"])
        self.assertEqual("observer", policy)
        self.assertEqual("alice", head.get("X-Key"))
        self.assertEqual('1:be brief 2:a \\"b\\"', head.get("X-Spans").strip())

    def test_what_picks_remember_is_learned_and_comes_back_in_a_new_table(self):
        self.serve()
        self.assertEqual("0", self.seen()[0].get("X-Table"))
        wait_for(lambda: instance(self.proxy)["state"] == {"learned": 1}, "the pick to be learned of")
        wait_for(lambda: self.seen()[0].get("X-Table") != "0", "a table that was built after learning")


class Tables(Observed):
    def test_without_a_table_the_fallback_picks_until_one_can_be_built(self):
        self.serve(most=1)
        other = self.raw_engine("one too many")
        self.engines.append(other)
        status, answer = self.proxy.control("/workers", "POST", {"url": other.url})
        self.assertEqual(202, status, answer)
        wait_for(lambda: self.seen_by_any() == "round_robin (fallback)", "the table to be too small")
        told = instance(self.proxy)
        self.assertEqual(["build"], list(told["slips"]))
        self.assertIsNone(told["quarantined"])
        added = next(one["id"] for one in self.proxy.control("/workers")[1]["workers"] if one["url"] == other.url)
        self.assertEqual(202, self.proxy.control(f"/workers/{added}", "DELETE")[0])
        wait_for(lambda: self.seen_by_any() == "observer", "the policy to pick again")

    def test_a_reload_to_a_policy_that_cannot_build_its_table_is_refused(self):
        self.serve(most=1)
        self.assertEqual("observer", self.seen()[1])
        self.proxy.configure(self.engines, routed_by({"plugin": "observer", "config": {"most": 0}}))
        self.proxy.reload()
        wait_for(lambda: logged(self.proxy, ["the reload is refused"]), "the refusal")
        self.assertTrue(logged(self.proxy, ["more workers than it can build for"]))
        self.assertEqual("observer", self.seen()[1])

    def seen_by_any(self):
        client = self.client(self.proxy).send(post(chat_body(), headers=["X-Tidegate-Route: 1"]))
        wait_for(lambda: any(not engine.untouched() for engine in self.engines), "the request")
        engine = next(engine for engine in self.engines if not engine.untouched())
        connection = engine.next_connection()
        connection.read_message()
        connection.send(json_response())
        answer = client.read_message()
        connection.close()
        client.close()
        return dict(word.split("=", 1) for word in answer.head.get("X-Tidegate-Route").split("; "))["policy"]


if __name__ == "__main__":
    unittest.main()
