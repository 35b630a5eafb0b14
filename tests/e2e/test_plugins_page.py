"""What GET /plugins tells, and what it does not do; code of discovery plugins exchanged by a reload."""

import unittest

from harness import PLUGINS, wait_for, worker
from legs_support import TEST_PLUGINS, PolicyScenario, library, logged, replace_file, routed_by


class PluginsPage(PolicyScenario):
    def setUp(self):
        super().setUp()
        self.folder = self.directory / "plugins"
        self.folder.mkdir(mode=0o755)
        self.engine = self.raw_engine()

    def put(self, name, source):
        replace_file(self.folder / f"{name}.so", TEST_PLUGINS / source)
        return self.folder / f"{name}.so"

    def serve(self, *discovery):
        config = routed_by("round_robin")
        config["plugins"]["path"] = [str(self.folder), str(PLUGINS)]
        self.proxy = self.gateway(config={**config, "discovery": [
            {"plugin": "static", "config": {"workers": [worker(self.engine)]}}, *discovery]})

    def source(self, name):
        return next((one for one in self.proxy.control("/plugins")[1]["discovery"] if one["source"] == name), None)

    def names(self):
        return sorted(one["tidegate"]["name"] for one in self.proxy.control("/workers")[1]["workers"]
                      if one["tidegate"]["source"] == "odd" and one["status"] != "draining")

    def test_asking_loads_nothing(self):
        self.put("stranger", "slipper.so")
        self.serve()
        told = self.proxy.control("/plugins")[1]["libraries"]
        self.assertEqual({"round_robin.so", "static.so"}, {one["path"].rsplit("/")[-1] for one in told})
        maps = self.proxy_maps()
        self.assertNotIn("stranger.so", maps)
        self.assertIn("round_robin.so", maps)

    def proxy_maps(self):
        with open(f"/proc/{self.proxy.pid}/maps") as maps:
            return maps.read()

    def test_a_source_describes_itself_and_its_code_is_exchanged_by_a_reload(self):
        file = self.put("odd_source", "swapper/odd_source_1.so")
        self.serve({"name": "odd", "plugin": "odd_source"})
        wait_for(lambda: self.names() == ["b", "build-1"], "the source's workers")
        told = self.source("odd")
        self.assertEqual(("odd_source", "1", {"build": "1"}, 2, False),
                         (told["plugin"], told["version"], told["state"], told["workers"], told["ended"]))
        self.put("odd_source", "swapper/odd_source_2.so")
        self.proxy.reload()
        wait_for(lambda: self.names() == ["b", "build-2"], "the new code's workers")
        self.assertEqual({"build": "2"}, self.source("odd")["state"])
        self.assertEqual((True, "2"), (library(self.proxy, file)["replaced"], library(self.proxy, file)["version"]))
        self.assert_serves(self.proxy, self.engine)

    def test_new_code_that_does_not_load_leaves_the_old_in_force(self):
        file = self.put("odd_source", "swapper/odd_source_1.so")
        self.serve({"name": "odd", "plugin": "odd_source"})
        wait_for(lambda: self.names() == ["b", "build-1"], "the source's workers")
        broken = self.directory / "broken.so"
        broken.write_bytes(b"\x7fELF and tg_plugin_v1\0")
        replace_file(file, broken)
        self.proxy.reload()
        wait_for(lambda: logged(self.proxy, ["the reload is refused"]), "the refusal")
        self.assertTrue(logged(self.proxy, [f"{file}: expected a library that loads"]))
        self.assertEqual({"build": "1"}, self.source("odd")["state"])
        self.assertEqual(["b", "build-1"], self.names())
        self.assertEqual("refused", library(self.proxy, file)["state"])
        self.assert_serves(self.proxy, self.engine)


if __name__ == "__main__":
    unittest.main()
