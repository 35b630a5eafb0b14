"""A policy's file replaced three times under open streams, by builds that answer differently.

The policy swapper (tests/legs/swapper.cc) comes in builds that set another X-Build on the request and lay out
state and tables differently. The engine answers with the headers that it got.
"""

import asyncio
import resource

from harness import SLOW_BUILD, WAIT, wait_for
from legs_support import TEST_PLUGINS, PolicyScenario, instance, library, logged, replace_file, routed_by
from legs_traffic import Engine, Steady, Streams

WITHIN = WAIT if SLOW_BUILD else 1.0


def anonymous_kib(process):
    """Resident memory but for pages of files: code that runs for the first time is no leak."""
    with open(f"/proc/{process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])


class SwapScenario(PolicyScenario):
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

    def ended(self):
        """The builds whose instances were destroyed, as they say themselves."""
        return sorted(build for build in "1234" for _ in logged(self.proxy, ["swapper ends", f'"build":"{build}"']))

    async def finish(self, streams):
        """Ends all streams and looks at each byte of them."""
        self.engine.end_all()
        await streams.ended()
        for name, sent in self.engine.sent.items():
            self.assertEqual(sent, streams.got[name], f"stream {name}")
        self.assertEqual(len(streams.tasks), len(self.engine.sent))
        self.engine.sent.clear()
        await asyncio.to_thread(self.assert_no_load, self.proxy)

    async def exchange_under(self, count, more):
        """Three new builds under so many streams, and more of them after each; returns (seconds until each was seen,
        anonymous KiB before and after, number of plain requests)."""
        steady = Steady(self.proxy.port, "X-Build")
        await steady.all_say("1", WAIT)
        # A first round without new code: what the process keeps for good, it has now.
        self.proxy.reload()
        await asyncio.to_thread(wait_for, lambda: self.ended() == ["1"], "the first instance's end")
        streams = Streams(self.proxy.port)
        await streams.open(f"warm-{n}" for n in range(count + 3 * more))
        await self.finish(streams)
        before = anonymous_kib(self.proxy)
        took = []
        streams = Streams(self.proxy.port)
        await streams.open(f"1-{n}" for n in range(count))
        for build in (2, 3, 4):
            self.put(build)
            self.proxy.reload()
            took.append(await steady.all_say(str(build), WITHIN))
            self.engine.say_all(f"data: now {build}\n\n".encode())
            await streams.open(f"{build}-{n}" for n in range(more))
            state = await asyncio.to_thread(self.state)
            self.assertEqual((build, build - 1, False), (state["build"], state["from"], state["shared"]))
            self.assertEqual(1, state["instances"], "static data of another build is used")
            self.assertGreater(state["picks"], count, "the count goes on")
            libraries = await asyncio.to_thread(library, self.proxy, self.file)
            self.assertEqual((True, f"{build}.0.0"), (libraries["replaced"], libraries["version"]))
        self.assertEqual(["1"], self.ended(), "streams still run on the old builds")
        await self.finish(streams)
        by = {name: got.split(b"\n\n")[0].decode() for name, got in streams.got.items()}
        self.assertEqual({name: f"data: {name} by {name[0]}" for name in by}, by)

        await asyncio.to_thread(wait_for, lambda: len(self.ended()) >= 4, "the old instances' ends")
        self.assertEqual(["1", "1", "2", "3"], self.ended())
        # Long after: each connection has had answers of the builds in their order, and every one was well.
        await steady.stop()
        for connection in range(len(steady.latest)):
            builds = [mark for number, mark in steady.answers if number == connection]
            self.assertEqual(builds, sorted(builds))
        self.assertEqual({}, (await asyncio.to_thread(instance, self.proxy))["slips"])
        return took, before, anonymous_kib(self.proxy), len(steady.answers)
