"""Code is exchanged under way: a plugin's file is replaced, SIGHUP, and nobody notices but by the new answer."""

import asyncio
import os
import unittest

from harness import SLOW_BUILD, WAIT, wait_for
from legs_support import instance, library, logged
from legs_traffic import Steady
from swap_support import WITHIN, SwapScenario

STREAMS = 1000
# What the round with new builds may hold at its end beyond what the round before it has left: a fifth of what its
# streams take while they last (about 9 KiB each), so that a part of any of them that stayed would show.
LEFT_KIB = STREAMS * 9 // 5


class HotSwap(SwapScenario):
    def test_three_new_builds_under_a_thousand_streams(self):
        asyncio.run(self.three_builds())

    async def three_builds(self):
        await self.serve()
        took, before, after, requests = await self.exchange_under(STREAMS, 50)
        print(f"hot swap: the new answer after {', '.join(f'{one * 1000:.0f}' for one in took)} ms; anonymous memory {before} "
              f"KiB before, {after} KiB after; {requests} plain requests", flush=True)
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
