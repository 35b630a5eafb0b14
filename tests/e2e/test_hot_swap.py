"""Code is exchanged under way: a plugin's file is replaced, SIGHUP, and nobody notices but by the new answer.

The policy swapper (tests/legs/swapper.cc) comes in builds that set another X-Build on the request and lay out
state and tables differently. The engine answers with the headers that it got.
"""

import asyncio
import os
import resource
import unittest

from harness import SLOW_BUILD, WAIT, wait_for
from legs_support import TEST_PLUGINS, PolicyScenario, instance, library, logged, replace_file, routed_by
from legs_traffic import Engine, Steady, Streams

STREAMS = 1000
WITHIN = WAIT if SLOW_BUILD else 1.0
# What the round with new builds may hold at its end beyond what the round before it has left: a fifth of what its
# streams take while they last (about 9 KiB each), so that a part of any of them that stayed would show.
LEFT_KIB = STREAMS * 9 // 5


def anonymous_kib(process):
    """Resident memory but for pages of files: code that runs for the first time is no leak."""
    with open(f"/proc/{process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])


class HotSwap(PolicyScenario):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        folder = self.directory / "plugins"
        folder.mkdir(mode=0o755)
        self.file = folder / "swapper.so"
        self.put(1)

    def put(self, build):
        replace_file(self.file, TEST_PLUGINS / f"swapper/swapper_{build}.so")

    async def serve(self):
        self.engine = Engine()
        await self.engine.start()
        config = routed_by("swapper", path=[self.file.parent])
        config["server"]["threads"] = 2
        self.proxy = await asyncio.to_thread(self.gateway, self.engine.url, config=config)

    def state(self):
        return instance(self.proxy)["state"]

    async def finish(self, streams):
        """Ends all streams and looks at each byte of them."""
        self.engine.end_all()
        await streams.ended()
        for name, sent in self.engine.sent.items():
            self.assertEqual(sent, streams.got[name], f"stream {name}")
        self.assertEqual(len(streams.tasks), len(self.engine.sent))
        self.engine.sent.clear()
        await asyncio.to_thread(self.assert_no_load, self.proxy)

    def test_three_new_builds_under_a_thousand_streams(self):
        asyncio.run(self.three_builds())

    async def three_builds(self):
        await self.serve()
        steady = Steady(self.proxy.port, "X-Build")
        await steady.all_say("1", WAIT)
        # A first round without new code: what the process keeps for good, it has now.
        self.proxy.reload()
        await asyncio.to_thread(wait_for, lambda: logged(self.proxy, ["swapper ends"]), "the first instance's end")
        streams = Streams(self.proxy.port)
        await streams.open(f"warm-{n}" for n in range(STREAMS + 150))
        await self.finish(streams)
        before = anonymous_kib(self.proxy)
        took = []

        def ended():
            return sorted(build for build in "1234" for _ in logged(self.proxy, ["swapper ends", f'"build":"{build}"']))
        streams = Streams(self.proxy.port)
        await streams.open(f"1-{n}" for n in range(STREAMS))
        for build in (2, 3, 4):
            self.put(build)
            self.proxy.reload()
            took.append(await steady.all_say(str(build), WITHIN))
            self.engine.say_all(f"data: now {build}\n\n".encode())
            await streams.open(f"{build}-{n}" for n in range(50))
            state = await asyncio.to_thread(self.state)
            self.assertEqual((build, build - 1, False), (state["build"], state["from"], state["shared"]))
            self.assertEqual(1, state["instances"], "static data of another build is used")
            self.assertGreater(state["picks"], STREAMS, "the count goes on")
            libraries = await asyncio.to_thread(library, self.proxy, self.file)
            self.assertEqual((True, f"{build}.0.0"), (libraries["replaced"], libraries["version"]))
        self.assertEqual(["1"], ended(), "streams still run on the old builds")
        await self.finish(streams)
        by = {name: got.split(b"\n\n")[0].decode() for name, got in streams.got.items()}
        self.assertEqual({name: f"data: {name} by {name[0]}" for name in by}, by)

        await asyncio.to_thread(wait_for, lambda: len(ended()) >= 4, "the old instances' ends")
        self.assertEqual(["1", "1", "2", "3"], ended())
        # Long after: each connection has had answers of the builds in their order, and every one was well.
        await steady.stop()
        for connection in range(len(steady.latest)):
            builds = [mark for number, mark in steady.answers if number == connection]
            self.assertEqual(builds, sorted(builds))
        self.assertEqual({}, (await asyncio.to_thread(instance, self.proxy))["slips"])
        after = anonymous_kib(self.proxy)
        print(f"hot swap: the new answer after {', '.join(f'{one * 1000:.0f}' for one in took)} ms; anonymous memory {before} "
              f"KiB before, {after} KiB after; {len(steady.answers)} plain requests", flush=True)
        if SLOW_BUILD:
            print("hot swap: memory is not judged, a sanitizer keeps what was freed", flush=True)
        else:
            self.assertLess(after - before, LEFT_KIB)
        await self.engine.stop()

    def test_a_reload_of_the_same_file_shares_the_state(self):
        asyncio.run(self.same_file())

    async def same_file(self):
        await self.serve()
        steady = Steady(self.proxy.port, "X-Build")
        await steady.all_say("1", WAIT)
        self.proxy.reload()
        await asyncio.to_thread(wait_for, lambda: logged(self.proxy, ["swapper ends"]), "the old instance's end")
        await steady.stop()
        state = await asyncio.to_thread(self.state)
        self.assertEqual({"build": 1, "from": 1, "instances": 1, "shared": True, "picks": len(steady.answers)}, state)
        self.assertFalse((await asyncio.to_thread(library, self.proxy, self.file))["replaced"])
        await self.engine.stop()

    def test_a_file_overwritten_in_place_is_refused_and_the_old_code_serves_on(self):
        asyncio.run(self.overwritten())

    async def overwritten(self):
        await self.serve()
        steady = Steady(self.proxy.port, "X-Build")
        await steady.all_say("1", WAIT)
        then = os.stat(self.file)
        # Behind the end of what is mapped: to write elsewhere could end the process, which is why it is refused.
        with open(self.file, "ab") as file:
            file.write(b"\0" * 16)
        reason = (f"{self.file}: expected the file that is mapped already, or a new one; found it overwritten in place "
                  f"(inode {then.st_ino}, {then.st_size} bytes then, {then.st_size + 16} now); put a new file there "
                  f"with install or mv, never with cp")
        self.proxy.reload()
        refused = "the reload is refused; the configuration in force serves on"
        await asyncio.to_thread(wait_for, lambda: logged(self.proxy, [refused]), "the refusal")
        self.assertTrue(logged(self.proxy, [reason]), self.proxy.log())
        told = await asyncio.to_thread(library, self.proxy, self.file)
        self.assertEqual(("refused", reason), (told["state"], told["reason"]))
        self.assertEqual([], logged(self.proxy, ["swapper ends"]))
        self.assertEqual({"1"}, {mark for _, mark in steady.answers})
        self.put(2)  # a new file mends it
        self.proxy.reload()
        await steady.all_say("2", WITHIN)
        await steady.stop()
        await self.engine.stop()


if __name__ == "__main__":
    unittest.main()
