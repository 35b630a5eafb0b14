"""Where workers come from: lists that shrink, names, keys of their own, reloads that meet them."""

import json
import unittest

from harness import MODEL, Scenario, chat_body, json_response, post, wait_for, worker

PROBING = {"health": {"enabled": True, "interval": "50ms", "timeout": "1s"}}


class Sources(Scenario):
    def urls(self, gateway):
        return sorted(one["url"] for one in gateway.control("/workers")[1]["workers"])


class Static(Sources):
    def test_a_much_shorter_list_is_in_force_at_once(self):
        engines = [self.raw_engine() for _ in range(3)]
        gateway = self.gateway(*engines)
        gateway.configure(engines[:1])
        gateway.reload()
        wait_for(lambda: self.urls(gateway) == [engines[0].url], "the removed workers to go")
        for _ in range(3):
            self.assert_serves(gateway, engines[0])

    def test_reloads_one_after_another_end_with_the_last_list(self):
        engines = [self.raw_engine() for _ in range(4)]
        gateway = self.gateway(*engines)
        for number in range(12):
            gateway.configure(engines[:number % 4 + 1])
            gateway.reload()
        wait_for(lambda: gateway.log().count('"reloaded"') >= 1, "a reload")
        wait_for(lambda: self.urls(gateway) == sorted(one.url for one in engines), "the last list")


class Names(Sources):
    def test_a_worker_whose_name_has_no_address_keeps_nobody_else_from_serving(self):
        engine = self.raw_engine()
        gateway = self.gateway(worker("http://no.such.host.invalid:1"), engine)
        self.assertEqual([engine.url], self.urls(gateway))
        self.assert_serves(gateway, engine)
        wait_for(lambda: "no.such.host.invalid" in gateway.log(), "the log to tell of it")

    def test_a_named_worker_is_asked_about_again_and_not_disturbed(self):
        engine = self.raw_engine()
        url = f"http://localhost:{engine.port}"
        gateway = self.gateway(worker(url), config={"upstream": {"resolve_interval": "50ms"}})
        generation = [one["tidegate"]["generation"] for one in gateway.control("/workers")[1]["workers"]]
        for _ in range(5):
            self.assert_serves(gateway, engine)
        self.assertEqual(generation, [one["tidegate"]["generation"]
                                      for one in gateway.control("/workers")[1]["workers"]])


class Keys(Sources):
    def authorization(self, engine, gateway, send="Bearer client"):
        client = self.client(gateway)
        client.send(post(chat_body(), headers=[f"Authorization: {send}"]))
        connection = engine.next_connection()
        found = connection.read_message().head.get("Authorization")
        connection.send(json_response())
        self.assertEqual(200, client.read_message().status)
        return found

    def test_a_workers_own_key_goes_instead_of_the_clients(self):
        own, none = self.raw_engine(), self.raw_engine()
        gateway = self.gateway(worker(own, models=["own"], key="hunter2"), worker(none, models=[MODEL]))
        self.assertEqual("Bearer client", self.authorization(none, gateway))
        client = self.client(gateway)
        client.send(post(chat_body().replace(MODEL.encode(), b"own"), headers=["Authorization: Bearer client"]))
        connection = own.next_connection()
        self.assertEqual("Bearer hunter2", connection.read_message().head.get("Authorization"))
        self.assertNotIn("hunter2", gateway.log())
        self.assertNotIn("hunter2", json.dumps(gateway.control("/workers")[1]))
        self.assertNotIn("hunter2", json.dumps(gateway.control("/plugins")[1]))

    def test_it_is_read_from_its_file_and_read_again(self):
        engine, secret = self.raw_engine(), self.directory / "key"
        secret.write_text("first\n")
        gateway = self.gateway(worker(engine, key=f"file:{secret}"), config={"upstream": {"resolve_interval": "50ms"}})
        self.assertEqual("Bearer first", self.authorization(engine, gateway))
        secret.write_text("second\n")
        wait_for(lambda: self.authorization(engine, gateway) == "Bearer second", "the new key")
        secret.unlink()  # the last good one stays
        self.assertEqual("Bearer second", self.authorization(engine, gateway))

    def test_a_worker_whose_key_is_missing_comes_when_it_is_there(self):
        engine, secret = self.raw_engine(), self.directory / "key"
        gateway = self.gateway(worker(engine, key=f"file:{secret}"), ready=False,
                               config={"upstream": {"resolve_interval": "50ms"}})
        wait_for(lambda: str(secret) in gateway.log(), "the log to tell of it")
        secret.write_text("late")
        gateway.wait_ready()
        self.assertEqual("Bearer late", self.authorization(engine, gateway))

    def test_health_checks_carry_it(self):
        engine = self.raw_engine()
        self.gateway(worker(engine, key="hunter2"), ready=False, config=PROBING)
        self.assertEqual("Bearer hunter2", engine.accept().read_head().get("Authorization"))

    def test_one_added_by_hand_has_its_own_too(self):
        engine = self.raw_engine()
        gateway = self.gateway(self.raw_engine())
        self.assertEqual(202, gateway.control("/workers", "POST", {
            "url": engine.url, "models": ["own"], "api_key": "hunter2"})[0])
        client = self.client(gateway)
        client.send(post(chat_body().replace(MODEL.encode(), b"own")))
        self.assertEqual("Bearer hunter2", engine.next_connection().read_message().head.get("Authorization"))


class ByHand(Sources):
    def add(self, gateway, **members):
        return gateway.control("/workers", "POST", {"url": "http://127.0.0.1:1", **members})

    def test_a_wrong_member_is_named(self):
        gateway = self.gateway(self.raw_engine())
        for member, value in (("models", "m"), ("models", [7]), ("models", [""]), ("labels", []),
                              ("labels", {"a": 1}), ("bootstrap_port", 70000), ("bootstrap_port", -1),
                              ("bootstrap_port", "x"), ("worker_type", 7), ("model_id", 7), ("connection_mode", "grpc"),
                              ("health_path", "no-slash"), ("api_key", "file:/etc/passwd"), ("weight", 0)):
            with self.subTest(f"{member}: {value}"):
                status, answer = self.add(gateway, **{member: value})
                self.assertEqual((400, "BAD_REQUEST"), (status, answer["code"]))
                self.assertIn("expected", answer["error"])
                self.assertNotIn("json.exception", answer["error"])

    def test_nulls_stand_for_nothing(self):
        gateway = self.gateway(self.raw_engine())
        status, _ = self.add(gateway, models=None, model_id=None, bootstrap_port=None, labels=None, worker_type=None,
                             api_key=None)
        self.assertEqual(202, status)

    def test_smgs_members_are_taken_and_others_named(self):
        gateway = self.gateway(self.raw_engine())
        status, answer = self.add(gateway, priority=50, cost=1.0, runtime_type="sglang", connection_mode="http")
        self.assertEqual(202, status)
        self.assertNotIn("ignored", answer["message"])
        status, answer = gateway.control("/workers", "POST", {"url": "http://127.0.0.1:2", "colour": "red"})
        self.assertEqual(202, status)
        self.assertIn("ignored: colour", answer["message"])

    def test_what_other_sources_may_not_it_may_not(self):
        gateway = self.gateway(self.raw_engine())
        for url, text in (("https://127.0.0.1:1", "TLS"), ("http://u:p@127.0.0.1:1", "user"),
                          ("http://127.0.0.1:1/path", "path")):
            with self.subTest(url):
                status, answer = gateway.control("/workers", "POST", {"url": url})
                self.assertEqual(400, status)
                self.assertIn(text, answer["error"])

    def test_the_list_filters_by_any_spelling_of_a_model(self):
        engine = self.raw_engine()
        gateway = self.gateway(worker(engine, models=["meta/llama 3"]))
        for query in ("model=meta%2Fllama%203", "x=1&model=meta/llama+3", "model=meta%2Fllama+3&y"):
            with self.subTest(query):
                self.assertEqual(1, gateway.control(f"/workers?{query}")[1]["total"])
        self.assertEqual(0, gateway.control("/workers?x=1&model=meta")[1]["total"])


if __name__ == "__main__":
    unittest.main()
