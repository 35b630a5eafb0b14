"""What the scenarios with policies of their own share: the tests' plugins, what /plugins and /workers tell."""

import itertools
import os
import pathlib
import shlex
import subprocess

from harness import BINARY, PLUGINS, Scenario, chat_body, get, post, wait_for

BUILD = pathlib.Path(os.environ.get("TIDEGATE_BUILD", BINARY.parent.parent))
TEST_PLUGINS = BUILD / "lib/tidegate/test-plugins"
if not TEST_PLUGINS.is_dir():
    TEST_PLUGINS = BINARY.parent.parent / "lib/tidegate/test-plugins"
OUTCOMES = ("ok", "failed", "cancelled", "never_sent", "dropped")  # by TG_OUTCOME_*


def routed_by(policy, attempts=3, path=(), **members):
    """A configuration with this one policy. `path`: folders that are searched first."""
    return {"server": {"threads": 1, "drain": "0s"},
            "plugins": {"path": [*map(str, path), str(TEST_PLUGINS), str(PLUGINS)]},
            "routes": [{"name": "all", "policy": policy, "retry": {"attempts": attempts}}], **members}


def instance(gateway, name="all"):
    """What /plugins tells of a policy instance: slips, quarantined, and `state`, its own description."""
    status, answer = gateway.control("/plugins")
    assert status == 200, answer
    return next(one["state"] for one in answer["policies"] if one["instance"] == name)


def library(gateway, path):
    """What /plugins tells of a library file; None when it is not among the libraries."""
    return next((one for one in gateway.control("/plugins")[1]["libraries"] if one["path"] == str(path)), None)


def logged(gateway, words):
    """The gateway's log lines that contain all of these."""
    return [line for line in gateway.log().splitlines() if all(word in line for word in words)]


def wait_logged(gateway, words, count=1):
    """The lines that contain all of these, once there are that many; more are a failure. The log is written behind."""
    lines = wait_for(lambda: (found := logged(gateway, words)) and len(found) >= count and found, f"a line of {words}")
    assert len(lines) == count, lines
    return lines


def settle_log(gateway):
    """Returns when all that happened so far stands in the log: behind it stands a reload."""
    before = len(logged(gateway, ['"reloaded"']))
    gateway.reload()
    wait_for(lambda: len(logged(gateway, ['"reloaded"'])) > before, "the reload")


def fleet_load(gateway):
    """(requests, tokens) under way, by slot"""
    workers = gateway.control("/workers")[1]["workers"]
    workers.sort(key=lambda one: one["tidegate"]["slot"])
    return [(one["load"], one["tidegate"]["inflight_tokens"]) for one in workers]


class PolicyScenario(Scenario):
    def assert_no_load(self, gateway):
        try:
            wait_for(lambda: not any(itertools.chain(*fleet_load(gateway))), "every worker's load to be 0 again")
        except AssertionError:
            self.fail(f"load that nobody causes: {fleet_load(gateway)}")

    def assert_legs(self, gateway, **expected):
        """Exactly one complete() a leg, with these outcomes since the start; no load is left behind."""
        self.assert_no_load(gateway)
        state = instance(gateway)["state"]
        outcomes = dict(zip(OUTCOMES, state["outcomes"]))
        self.assertEqual({name: expected.get(name, 0) for name in OUTCOMES}, outcomes)
        self.assertEqual(state["legs"], sum(outcomes.values()), "one complete() for each leg")

    def let_it_work(self, gateway):
        """The gateway (of one loop) has dealt with all that was sent to it before: two rounds of its loop."""
        client = self.client(gateway)
        for _ in range(2):
            self.assertEqual(200, client.exchange(get("/liveness")).status)
        client.close()


class PlannedScenario(PolicyScenario):
    """Requests whose plan stands in their header X-Plan (tests/legs/planner.cc); scripted engines, one a slot."""
    workers = 2

    def setUp(self):
        super().setUp()
        self.engines = [self.raw_engine(f"engine {n}") for n in range(self.workers)]

    def serve(self, **options):
        self.proxy = self.gateway(*self.engines, config=routed_by("planner", **options))
        return self.proxy

    def ask(self, plan, body=chat_body(), headers=(), **options):
        if not hasattr(self, "proxy"):
            self.serve(**options)
        return self.client(self.proxy).send(post(body, headers=[f"X-Plan: {plan}", *headers]))

    def take(self, number):
        """(connection, request): the next request that this engine gets, whole"""
        connection = self.engines[number].next_connection()
        return connection, connection.read_message()


def sanitizer_flags():
    """The sanitizers that the build compiled its plugins with, as a compiler's option."""
    cache = (BUILD / "CMakeCache.txt").read_text()
    names = next((line.split("=", 1)[1] for line in cache.splitlines() if line.startswith("TIDEGATE_SANITIZE:")), "")
    return f"-fsanitize={names}" if names else ""


def replace_file(target, source):
    """As dpkg and `install` do: a new file under another name, then renamed. The old inode lives on."""
    new = target.with_suffix(".new")
    new.write_bytes(source.read_bytes())
    new.chmod(0o644)
    os.replace(new, target)


def run(*command, **options):
    """A command that must succeed; its output is shown when it does not."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=300, text=True, **options)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


