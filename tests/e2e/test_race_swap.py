"""Code exchanged under open streams as the sanitizers see it: nothing of an old build is used after its end, no thread
races another for it, and at the process's end nothing is left (LeakSanitizer speaks by the exit code and in the log).
"""

import asyncio
import signal
import unittest

from harness import SLOW_BUILD
from swap_support import SwapScenario

STREAMS = 60 if SLOW_BUILD else 200


class RaceSwap(SwapScenario):
    def test_three_new_builds_under_streams_and_nothing_is_left(self):
        asyncio.run(self.three_builds())
        self.proxy.signal(signal.SIGTERM)
        self.assertEqual(0, self.proxy.wait())
        self.assertEqual(["1", "1", "2", "3", "4"], self.ended(), "the last instance ends with the process")
        self.assertNotIn("Sanitizer", self.proxy.log())

    async def three_builds(self):
        await self.serve()
        await self.exchange_under(STREAMS, 10)
        await self.engine.stop()


if __name__ == "__main__":
    unittest.main()
