"""Real processes and raw sockets for the end-to-end scenarios. Python's standard library only.

A scenario drives both ends itself: it sends bytes as a client, takes the connection that the gateway opens as
an engine, and answers byte by byte. So nothing waits for a clock: every step waits for the event before it.
Every wait has a limit (WAIT) after which the scenario fails and says what it was waiting for.

  TIDEGATE_BUILD the build directory; default build/release (TIDEGATE_BIN names the binary alone)
  E2E_WAIT       seconds a single wait may take; default 10, with sanitizers (TIDEGATE_PRESET) 40
  E2E_KEEP       set: keep the directories of passing scenarios too
"""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import unittest

from processes import (BINARY, PLUGINS, REPOSITORY, Gateway, Process, SimulatedEngine, free_port, http,  # noqa: F401
                       wait_for, worker)
from wire import (LAST_CHUNK, MODEL, SLOW_BUILD, SSE_HEAD, WAIT, Client, Closed, Connection, Head,  # noqa: F401
                  Message, RawEngine, accept_any, chat_body, chunk, get, json_response, post, sse_events)


class Scenario(unittest.TestCase):
    """One behaviour a test. What is started here is ended by its pid; logs are shown when the test fails."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-e2e-"))
        self.processes = []
        self.addCleanup(self._clean)

    def _clean(self):
        failed = any(error for _, error in getattr(self._outcome, "errors", []) if error) or not getattr(
            self._outcome, "success", True)
        complaints = []
        for process in self.processes:
            code = process.stop()
            log = process.log()
            if "Sanitizer" in log or "runtime error:" in log or code in (-signal.SIGSEGV, -signal.SIGABRT):
                complaints.append(f"{process.name} ended with {code}")
                failed = True
            if failed:
                print(f"\n---- {self.id()}: {process.name} (exit {code}), last of {process.log_path}\n{log[-6000:]}",
                      file=sys.stderr)
        if not failed and "E2E_KEEP" not in os.environ:
            shutil.rmtree(self.directory, ignore_errors=True)
        if complaints:
            raise AssertionError("; ".join(complaints))

    def start(self, process):
        self.processes.append(process)
        return process

    def raw_engine(self, name="engine", **options):
        engine = RawEngine(name, **options)
        self.addCleanup(engine.close)
        return engine

    def simulated_engine(self, *arguments, name=None):
        name = name or f"engine{len(self.processes) + 1}"
        return self.start(SimulatedEngine(name, self.directory, *arguments))

    def gateway(self, *workers, config=None, **options):
        # Kept on the list even when it does not come up, so that its log is shown.
        gateway = Gateway.__new__(Gateway)
        self.processes.append(gateway)
        try:
            gateway.__init__(self.directory, workers, config, **options)
        except BaseException:
            if not hasattr(gateway, "process"):
                self.processes.remove(gateway)
            raise
        return gateway

    def client(self, gateway, **options):
        client = Client(gateway.port, **options)
        self.addCleanup(client.close)
        return client

    # -- common steps
    def assert_error(self, message, status, code=None):
        """OpenAI's error envelope, and this status (one, or one of several) and code."""
        allowed = (status,) if isinstance(status, int) else status
        self.assertIn(message.status, allowed, message)
        self.assertIn("application/json", message.head.get("Content-Type") or "", message)
        error = message.json()["error"]
        self.assertEqual({"type", "code", "message", "param"}, set(error), message)
        self.assertTrue(error["message"], message)
        if code is not None:
            self.assertIn(error["code"], (code,) if isinstance(code, str) else code, message)
        return error

    def assert_serves(self, gateway, engine, times=1):
        """A plain request goes through to this engine, and nothing else has reached it before."""
        for _ in range(times):
            with contextlib.closing(Client(gateway.port)) as client:
                body = chat_body(f"sentinel {time.monotonic_ns()}")
                client.send(post(body, headers=["Connection: close"]))
                connection = engine.next_connection()
                request = connection.read_message()
                self.assertEqual(body, request.body, "another request came before ours")
                connection.send(json_response())
                self.assertEqual(200, client.read_message().status)
