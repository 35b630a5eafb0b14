"""What a service manager hears: sd_notify's datagrams."""

import os
import select
import signal
import socket
import unittest

from harness import WAIT, Scenario, wait_for
from test_containment import Contained


class Listening:
    """The manager's end of the protocol; what is said comes line by line."""

    def listen(self, directory, watchdog_usec=None):
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.settimeout(WAIT)
        path = str(directory / "notify")
        self.manager.bind(path)
        environment = {"NOTIFY_SOCKET": path}
        if watchdog_usec:
            environment["WATCHDOG_USEC"] = str(watchdog_usec)
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        self.addCleanup(lambda: [os.environ.pop(name, None) if value is None else os.environ.update({name: value})
                                 for name, value in before.items()])

    def hear_up_to(self, word):
        """All datagrams up to the first that has this word in it."""
        said = [self.manager.recv(4096).decode()]
        while word not in said[-1]:
            said.append(self.manager.recv(4096).decode())
        return said

    def hear(self, word):
        return self.hear_up_to(word)[-1]

    def drop_what_was_said(self):
        while select.select([self.manager], [], [], 0)[0]:
            self.manager.recv(4096)


class Told(Scenario, Listening):
    def test_ready_reloading_and_stopping(self):
        self.listen(self.directory)
        gateway = self.gateway(self.raw_engine())
        self.assertIn("READY=1", self.hear("READY=1").splitlines())
        gateway.reload()
        self.assertRegex(self.hear("RELOADING=1"), r"(?m)^MONOTONIC_USEC=\d+$")
        self.hear("READY=1")
        gateway.signal(signal.SIGTERM)
        self.hear("STOPPING=1")
        self.assertEqual(0, gateway.wait())

    def test_alive_at_the_pace_that_the_watchdog_asks_for(self):
        self.listen(self.directory, watchdog_usec=100_000)
        self.gateway(self.raw_engine())
        for _ in range(5):
            self.hear("WATCHDOG=1")


class Stalled(Contained, Listening):
    def test_a_call_that_does_not_return_ends_the_signs_of_life_until_it_does(self):
        self.listen(self.directory, watchdog_usec=100_000)
        self.serve(threads=2, slow_call="50ms", stalled="200ms")
        self.hear("WATCHDOG=1")
        self.ask("stall")
        wait_for(lambda: self.proxy.control("/liveness")[0] == 503, "liveness to fall")
        self.drop_what_was_said()
        for _ in range(3):  # each reload is a turn of the loop that gives the signs
            self.proxy.reload()
            self.assertEqual([], [said for said in self.hear_up_to("READY=1") if "WATCHDOG" in said])
        self.open_gate()
        wait_for(lambda: self.proxy.control("/liveness")[0] == 200, "liveness to rise")
        self.hear("WATCHDOG=1")


if __name__ == "__main__":
    unittest.main()
