"""A reload is taken over whole or not at all."""

import unittest

from harness import Scenario, chat_body, json_response, post, wait_for


class Whole(Scenario):
    def test_a_bad_source_leaves_the_routes_as_they_were(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine, config={"routes": [{"match": {"model": "*"}, "policy": {"plugin": "random"}}]})
        gateway.configure([engine], {"routes": [{"match": {"model": "*"}, "policy": {"plugin": "round_robin"}}],
                                     "discovery": [{"plugin": "static", "config": {"workers": [{"url": 7}]}}]})
        gateway.reload()
        wait_for(lambda: "the reload is refused" in gateway.log(), "the refusal")
        client = self.client(gateway).send(post(chat_body(), headers=["X-Tidegate-Route: 1"]))
        connection = engine.accept()
        connection.read_message()
        connection.send(json_response())
        self.assertIn("policy=random;", client.read_message().head.get("X-Tidegate-Route"))


if __name__ == "__main__":
    unittest.main()
