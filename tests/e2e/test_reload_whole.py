"""A reload is taken over whole or not at all."""

import re
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

    def test_a_refused_reload_leaves_the_log_as_it_was(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        gateway.configure([engine], {"log": {"format": "text"},
                                     "discovery": [{"plugin": "static", "config": {"workers": [{"url": 7}]}}]})
        gateway.reload()
        line = wait_for(lambda: [one for one in gateway.log().splitlines() if "the reload is refused" in one],
                        "the refusal")[0]
        self.assertTrue(line.startswith("{"), line)

    def test_a_refused_reload_leaves_the_plugins_path_as_it_was(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "stray.so").write_bytes(b"")
        gateway.configure([engine], {"plugins": {"path": [str(elsewhere)]},
                                     "discovery": [{"plugin": "static", "config": {"workers": [{"url": 7}]}}]})
        gateway.reload()
        wait_for(lambda: "the reload is refused" in gateway.log(), "the refusal")
        paths = [one["path"] for one in gateway.control("/plugins")[1]["libraries"]]
        self.assertTrue(paths)
        self.assertFalse([path for path in paths if "elsewhere" in path], paths)

    def test_what_needs_a_restart_is_named_each_time(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        gateway.configure([engine], {"server": {"threads": 3}, "plugins": {"slow_call": "90ms", "stalled": "9s"},
                                     "log": {"access": str(self.directory / "access.log")}})
        for times in (1, 2):
            gateway.reload()
            wait_for(lambda: gateway.log().count('"reloaded"') == times, "the reload")
            self.assertEqual(times, gateway.log().count(
                '"keys":"server.threads, log.access, plugins.slow_call, plugins.stalled"'), gateway.log())


class Counted(Scenario):
    def count(self, gateway, result):
        found = re.search(rf'(?m)^tidegate_config_reloads_total\{{result="{result}"\}} (\d+)$', gateway.metrics())
        return int(found.group(1)) if found else None

    def loaded_at(self, gateway):
        return float(re.search(r"(?m)^tidegate_config_last_reload_success_timestamp_seconds (\S+)$",
                               gateway.metrics()).group(1))

    def test_every_reload_is_counted_with_its_result(self):
        engine = self.raw_engine()
        gateway = self.gateway(engine)
        at_start = self.loaded_at(gateway)
        self.assertGreater(at_start, 1e9)
        for text in ("servr: {}\n", "discovery: [\n"):  # a wrong key, no YAML
            before = self.count(gateway, "refused")
            gateway.write_config(text)
            gateway.reload()
            wait_for(lambda: self.count(gateway, "refused") == before + 1, "the count of refusals")
        gateway.configure([engine], {"discovery": [{"plugin": "static", "config": {"workers": [{"url": 7}]}}]})
        gateway.reload()
        wait_for(lambda: self.count(gateway, "refused") == 3, "the count of refusals")
        self.assertEqual((0, at_start), (self.count(gateway, "ok"), self.loaded_at(gateway)))
        gateway.configure([engine])
        gateway.reload()
        wait_for(lambda: self.count(gateway, "ok") == 1, "the count of reloads")
        self.assertGreater(self.loaded_at(gateway), at_start)


class IdleLoops(Scenario):
    def test_a_loop_without_requests_lets_go_of_who_has_left(self):
        """Slots are used again when the last view that shows their worker is gone."""
        leaver, other = self.raw_engine("leaver"), self.raw_engine("other")
        gateway = self.gateway(leaver)
        self.assert_serves(gateway, leaver, times=16)  # on both loops
        listed = gateway.control("/workers")[1]["workers"]
        slot = listed[0]["tidegate"]["slot"]
        gateway.control(f"/workers/{listed[0]['id']}", "DELETE")

        def slot_is_free():
            identity = gateway.control("/workers", "POST", {"url": other.url})[1]["worker_id"]
            mine = gateway.control(f"/workers/{identity}")[1]["tidegate"]["slot"]
            gateway.control(f"/workers/{identity}", "DELETE")
            return mine == slot

        wait_for(slot_is_free, "the slot to be used again")


if __name__ == "__main__":
    unittest.main()
