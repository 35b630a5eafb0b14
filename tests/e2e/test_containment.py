"""Policies that go wrong cost themselves, not the requests: slips, quarantine, stalls.

The policy slipper goes wrong as the request's body asks for (tests/legs/slipper.cc). A stall lasts until the
scenario opens a FIFO, so that nothing here depends on how fast anything is.
"""

import contextlib
import itertools
import os
import select
import unittest

from harness import WAIT, chat_body, json_response, post, wait_for
from legs_support import PolicyScenario, instance, logged, routed_by, settle_log, wait_logged

WENT_WRONG = "a plugin call went wrong"
QUARANTINED = "plugin instance quarantined until the next reload"
IN_A_ROW = 16  # slips that lead to quarantine


class Contained(PolicyScenario):
    def serve(self, policy="slipper", fallback="round_robin", threads=1, **plugins):
        self.engine = self.raw_engine()
        self.gate = self.directory / "gate"
        os.mkfifo(self.gate)
        self.addCleanup(self.open_gate)
        config = routed_by({"plugin": policy, "config": {"gate": str(self.gate)}})
        config["server"]["threads"] = threads
        config["plugins"].update(plugins)
        config["routes"][0]["fallback"] = fallback
        self.proxy = self.gateway(self.engine, config=config)

    def open_gate(self):
        """Lets a stalled call go; nobody may be waiting."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK))

    def ask(self, slip=""):
        return self.client(self.proxy).send(request(slip))

    def answer(self):
        """The engine answers one request."""
        connection = self.engine.next_connection()
        connection.read_message()
        connection.send(json_response())

    def served_by(self, slip=""):
        """The name of the policy that chose, as the answer tells; with `(fallback)` when it was that."""
        client = self.ask(slip)
        self.answer()
        return self.chosen_by(client.read_message())

    def chosen_by(self, answer):
        self.assertEqual(200, answer.status, answer)
        words = dict(word.split("=", 1) for word in answer.head.get("X-Tidegate-Route").split("; "))
        return words["policy"]

    def node(self):
        return instance(self.proxy)


def request(slip=""):
    return post(chat_body(slip=slip), headers=["X-Tidegate-Route: 1"])


class Slips(Contained):
    def test_each_way_to_go_wrong_costs_the_policy_that_request_alone(self):
        self.serve()
        for count, (slip, kind) in enumerate((("error", "status"), ("throw", "exception"), ("outside", "slot")), 1):
            with self.subTest(slip):
                self.assertEqual("round_robin (fallback)", self.served_by(slip))
                self.assertEqual(1, self.node()["slips"][kind])
                self.assertEqual("slipper", self.served_by())
        self.assertEqual({"status": 1, "exception": 1, "slot": 1}, self.node()["slips"])
        self.assertIsNone(self.node()["quarantined"])
        self.assert_no_load(self.proxy)

    def test_a_plan_that_edits_what_it_may_not_costs_the_policy_alone_and_no_worker(self):
        self.serve()
        self.assertEqual("round_robin (fallback)", self.served_by("host"))
        self.assertEqual("slipper", self.served_by("edit"))
        form = b'no JSON "slip": "edit"'
        client = self.client(self.proxy).send(post(form, "/v1/audio/transcriptions", ["X-Tidegate-Route: 1"]))
        self.answer()
        self.assertEqual("round_robin (fallback)", self.chosen_by(client.read_message()))
        self.assertEqual({"edit": 2}, self.node()["slips"])
        self.assert_no_load(self.proxy)

    def test_an_exception_out_of_complete_harms_nobody(self):
        self.serve()
        self.assertEqual("slipper", self.served_by("complete"))
        wait_for(lambda: self.node()["slips"] == {"exception": 1}, "the slip to be counted")
        self.assertEqual("slipper", self.served_by())
        self.assert_no_load(self.proxy)

    def test_slips_are_logged_once_a_window_with_plugin_function_and_reason(self):
        self.serve()
        for _ in range(IN_A_ROW - 1):
            self.served_by("throw")
        self.assertEqual({"exception": IN_A_ROW - 1}, self.node()["slips"])
        settle_log(self.proxy)
        line, = wait_logged(self.proxy, [WENT_WRONG])
        for word in ('"plugin":"slipper"', '"function":"pick"', '"slip":"exception"', '"detail":"out of pick"'):
            self.assertIn(word, line)

    def test_a_policy_that_keeps_at_it_is_quarantined_until_a_reload(self):
        self.serve()
        for _ in range(IN_A_ROW):
            self.assertEqual("round_robin (fallback)", self.served_by("error"))
        self.assertEqual("slips", self.node()["quarantined"])
        wait_logged(self.proxy, [QUARANTINED, '"reason":"slips"', '"plugin":"slipper"'])
        self.assertEqual("round_robin (fallback)", self.served_by(), "it is not asked any more")
        self.assertEqual({"status": IN_A_ROW}, self.node()["slips"])
        self.proxy.reload()
        wait_for(lambda: self.node()["quarantined"] is None, "the new instance")
        self.assertEqual("slipper", self.served_by())

    def test_slips_that_are_not_in_a_row_do_not_lead_to_quarantine(self):
        self.serve()
        for _ in range(2):
            for _ in range(IN_A_ROW - 1):
                self.served_by("error")
            self.assertEqual("slipper", self.served_by())
        self.assertIsNone(self.node()["quarantined"])

    def test_when_the_fallback_slips_too_the_client_is_told(self):
        self.serve(fallback="slipper_serial")
        error = self.assert_error(self.ask("throw").read_message(), 503, "server_selection_failed")
        self.assertTrue(error["message"])
        self.assertEqual([{"exception": 1}] * 2, [instance(self.proxy, name)["slips"] for name in ("all", "all/fallback")])
        self.assertEqual("slipper", self.served_by())


class Budget(Contained):
    TIMED = 61       # one call of so many is timed on each thread
    MOST = 12 * 2    # timed calls over the budget that lead to quarantine; twice, as one that was preempted does not count

    def serve_simulated(self, **plugins):
        config = routed_by("slipper")
        config["plugins"].update(plugins)
        config["routes"][0]["fallback"] = "round_robin"
        self.proxy = self.gateway(self.simulated_engine("--speed", "1000"), config=config)
        client = self.client(self.proxy)
        for _ in range(self.MOST):
            for _ in range(self.TIMED):
                body = chat_body(slip="slow", max_tokens=1)
                yield client.exchange(post(body, headers=["X-Tidegate-Route: 1"]))

    def test_a_policy_that_is_slow_is_quarantined(self):
        for answer in self.serve_simulated():
            chosen = self.chosen_by(answer)
            if chosen != "slipper":
                break
        self.assertEqual("round_robin (fallback)", chosen)
        self.assertEqual("budget", self.node()["quarantined"])
        self.assertEqual({"over_budget": 12}, self.node()["slips"])
        wait_logged(self.proxy, [QUARANTINED, '"reason":"budget"', '"plugin":"slipper"'])

    def test_the_budget_is_the_configurations(self):
        for answer in itertools.islice(self.serve_simulated(call_budget="90ms"), 2 * self.TIMED):
            self.assertEqual("slipper", self.chosen_by(answer))
        self.assertEqual({}, self.node()["slips"])


class Stalls(Contained):
    connections = 16  # over two loops: that all fall to one of them does not happen

    def stalled(self, policy, queued=False):
        """queued: the others come before the watchdog has spoken."""
        self.serve(policy, threads=2, slow_call="1s" if queued else "100ms")
        others = [self.client(self.proxy) for _ in range(self.connections)]
        stuck = self.ask("stall")
        wait_for(self.gate.with_suffix(".reached").exists, "the pick to stall")
        if queued:
            for client in others:
                client.send(request())
        wait_for(lambda: self.node()["quarantined"] == "stall", "the watchdog")
        line, = wait_logged(self.proxy, ["a plugin call takes too long"])
        for word in (f'"plugin":"{policy}"', '"function":"pick"'):
            self.assertIn(word, line)
        # The other loop serves on, and nobody but the fallback chooses.
        if not queued:
            for client in others:
                client.send(request())
        self.answer()
        ready = select.select([client.sock for client in others], [], [], WAIT)[0]
        first = next(client for client in others if client.sock in ready)
        self.assertEqual("round_robin (fallback)", self.chosen_by(first.read_message()))
        self.assertTrue(stuck.is_quiet())
        self.open_gate()
        for _ in range(self.connections):  # those of the stuck loop too, and the stuck one
            self.answer()
        for client in others:
            if client is not first:
                self.assertEqual("round_robin (fallback)", self.chosen_by(client.read_message()))
        self.assertEqual(200, stuck.read_message().status)
        self.assertEqual("stall", self.node()["quarantined"], "until a reload")
        self.assertEqual(queued, self.node()["serial_waits"] > 0)
        self.proxy.reload()
        wait_for(lambda: self.node()["quarantined"] is None, "the new instance")
        self.assertEqual(policy, self.served_by())
        self.assert_no_load(self.proxy)

    def test_a_stalled_pick_is_named_and_quarantined_while_it_lasts(self):
        self.stalled("slipper")

    def test_who_waits_for_his_turn_behind_a_stall_goes_on_through_the_fallback(self):
        self.stalled("slipper_serial", queued=True)

    def test_a_stall_over_the_limit_fails_liveness_until_it_ends(self):
        self.serve(slow_call="20ms", stalled="100ms")
        self.assertEqual(200, self.proxy.control("/liveness")[0])
        stuck = self.ask("stall")
        wait_for(lambda: self.proxy.control("/liveness")[0] == 503, "/liveness to fail")
        for path in ("/liveness", "/health"):
            status, answer = self.proxy.control(path)
            self.assertEqual((503, "stalled"), (status, answer["error"]["code"]))
        wait_logged(self.proxy, ["a plugin call has stalled", '"plugin":"slipper"', '"function":"pick"'])
        self.open_gate()
        self.answer()
        self.assertEqual(200, stuck.read_message().status)
        wait_for(lambda: self.proxy.control("/liveness")[0] == 200, "/liveness to recover")
        wait_logged(self.proxy, ["a stalled plugin call has ended"])
        self.assertEqual("round_robin (fallback)", self.served_by())


class ControlStalls(PolicyScenario):
    """Whatever code of a plugin hangs on the control thread, /liveness tells."""

    def hangs(self, place, function):
        gate = self.directory / "gate"
        os.mkfifo(gate)
        for name, value in (("GATE", str(gate)), ("GATE_IN", place)):
            os.environ[f"TIDEGATE_TEST_{name}"] = value
            self.addCleanup(os.environ.pop, f"TIDEGATE_TEST_{name}")
        engine = self.raw_engine()
        config = routed_by("round_robin")
        config["plugins"].update(slow_call="20ms", stalled="100ms")
        proxy = self.gateway(engine, config=config)
        proxy.configure([engine], {**config, "routes": [{"name": "all", "policy": "slow_start"}]})
        proxy.reload()
        try:
            wait_for(lambda: proxy.control("/liveness")[0] == 503, "/liveness to fail")
            wait_logged(proxy, ["a plugin call takes too long", '"plugin":"slow_start"', f'"function":"{function}"'])
            if place != "constructor":  # under which glibc holds a lock that any thread may come to need
                self.assert_serves(proxy, engine)
        finally:
            os.close(os.open(gate, os.O_WRONLY))
        wait_for(lambda: proxy.control("/liveness")[0] == 200, "/liveness to recover")
        wait_for(lambda: logged(proxy, ['"reloaded"']), "the reload")
        self.assertIsNone(instance(proxy)["quarantined"])
        self.assert_serves(proxy, engine)

    def test_a_librarys_constructor(self):
        self.hangs("constructor", "load")

    def test_the_entry_function(self):
        self.hangs("entry", "load")

    def test_init(self):
        self.hangs("init", "init")

    def test_a_posted_function(self):
        self.hangs("post", "post")

    def test_a_timers_function(self):
        self.hangs("timer", "timer")


if __name__ == "__main__":
    unittest.main()
