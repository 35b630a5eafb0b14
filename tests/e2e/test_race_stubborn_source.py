"""A discovery plugin that ignores its stop token (tests/plugins/stubborn.c), or minds it late, holds up neither a reload
nor the end. Also under sanitizers: threads and timers that outlive what they used would show."""

import signal
import unittest

from harness import PLUGINS, wait_for, worker
from legs_support import TEST_PLUGINS, PolicyScenario, wait_logged

LEFT = "a discovery source ignores its stop"


class StubbornSource(PolicyScenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()

    def serve(self, **stubborn):
        self.stubborn = stubborn
        self.proxy = self.gateway(config=self.with_sources("stubborn"))

    def with_sources(self, *plugins):
        configs = {"static": {"workers": [worker(self.engine)]}, "stubborn": {"url": self.engine.url, **self.stubborn}}
        return {"plugins": {"path": [str(TEST_PLUGINS), str(PLUGINS)]},
                "discovery": [{"name": name, "plugin": name, "config": configs[name]} for name in plugins]}

    def drop_it(self):
        self.proxy.configure([], self.with_sources("static"))
        self.proxy.reload()
        wait_for(lambda: '"reloaded"' in self.proxy.log(), "the reload")

    def test_the_process_ends_with_0_all_the_same_and_names_it(self):
        self.serve()
        self.assert_serves(self.proxy, self.engine)
        self.proxy.signal(signal.SIGTERM)
        self.assertEqual(0, self.proxy.wait())
        line, = wait_logged(self.proxy, [LEFT])
        for word in ('"instance":"stubborn"', '"plugin":"stubborn"', '"limit_ms":"5000"'):
            self.assertIn(word, line)

    def test_the_end_may_come_while_a_dropped_source_still_runs(self):
        self.serve()
        self.drop_it()
        self.proxy.signal(signal.SIGTERM)
        self.assertEqual(0, self.proxy.wait())

    def test_the_end_may_come_while_a_dropped_source_takes_its_time(self):
        self.serve(linger_ms=300)
        self.drop_it()
        self.proxy.signal(signal.SIGTERM)
        self.assertEqual(0, self.proxy.wait())

    def test_a_dropped_source_that_does_not_end_is_named_while_the_gateway_serves_on(self):
        self.serve()
        self.drop_it()
        wait_logged(self.proxy, [LEFT])
        self.assert_serves(self.proxy, self.engine)


if __name__ == "__main__":
    unittest.main()
