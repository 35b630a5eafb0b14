"""A policy of somebody else's, built out of tree against the installed SDK, takes the place of one of ours by name.

Needs the build tree (TIDEGATE_BUILD; by default the one that the binary lies in), CMake and a compiler.
"""

import asyncio
import unittest

from harness import SLOW_BUILD, WAIT
from legs_support import BUILD, PolicyScenario, instance, replace_file, routed_by, run, sanitizer_flags
from legs_traffic import Engine, Steady

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(mine LANGUAGES CXX)
find_package(Tidegate REQUIRED)
tidegate_add_plugin(mine SOURCES mine.cc OUTPUT power_of_two)
"""
SOURCE = """
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

struct Mine {
  static constexpr auto name = "power_of_two", summary = "the first worker, and says so";
  void pick(tg::Pick p) noexcept {
    p.select(p.candidates().front()).headers(p.edits(1).set("X-Chosen-By", "mine"));
    p.reason("mine");
  }
};
TG_PLUGIN("mine", "7.0", tg::policy<Mine>());
"""


@unittest.skipUnless((BUILD / "CMakeCache.txt").exists(), f"{BUILD} is no build tree")
class ForeignPolicy(PolicyScenario):
    def build(self):
        """The plugin's file, built by a project of its own that knows nothing but the prefix."""
        prefix, source = self.directory / "prefix", self.directory / "source"
        run("cmake", "--install", BUILD, "--component", "sdk", "--prefix", prefix)
        source.mkdir()
        (source / "CMakeLists.txt").write_text(PROJECT)
        (source / "mine.cc").write_text(SOURCE)
        run("cmake", "-S", source, "-B", source / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
            f"-DCMAKE_INSTALL_PREFIX={prefix}", f"-DCMAKE_CXX_FLAGS={sanitizer_flags()}")
        run("cmake", "--build", source / "build")
        run("cmake", "--install", source / "build")
        return next(prefix.rglob("tidegate/plugins/power_of_two.so"))

    def test_it_replaces_the_first_one_by_name_without_a_dropped_request(self):
        built = self.build()
        asyncio.run(self.replace(built))

    async def replace(self, built):
        folder = self.directory / "plugins"
        folder.mkdir(mode=0o755)
        engine = Engine()
        await engine.start()
        gateway = await asyncio.to_thread(self.gateway, engine.url, config=routed_by("power_of_two", path=[folder]))
        self.assertEqual("power_of_two", (await asyncio.to_thread(instance, gateway))["plugin"])
        steady = Steady(gateway.port, "X-Chosen-By")
        await steady.all_answered(5)
        replace_file(folder / "power_of_two.so", built)
        gateway.reload()
        await steady.all_say("mine", WAIT if SLOW_BUILD else 1.0)
        await steady.stop()  # a request that was dropped or failed is raised here
        marks = [mark for _, mark in steady.answers]
        self.assertEqual({None, "mine"}, set(marks))
        told = await asyncio.to_thread(instance, gateway)
        self.assertEqual(("mine", "7.0", str(folder / "power_of_two.so")), (told["plugin"], told["version"], told["path"]))
        self.assertEqual({}, told["slips"])
        await engine.stop()


if __name__ == "__main__":
    unittest.main()
