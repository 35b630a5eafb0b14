#!/usr/bin/env python3
"""What the verdicts mean."""

import unittest

import report


def rounds_of(scenario, *rounds):
    return {scenario: {"rounds": list(rounds), "void": [], "complete": True}}


class Verdicts(unittest.TestCase):
    def verdict(self, results, what):
        return next(v for v in report.judge(results, "tidegate") if what in v["what"])

    def test_a_ratio_is_the_median_of_the_ratios_within_each_round(self):
        results = rounds_of("streams-1000", *(
            {"tidegate": {"cpu_per": own}, "nginx": {"cpu_per": nginx}, "bare": {"cpu_per": 10}}
            for own, nginx in ((10, 20), (30, 30), (12, 10))))
        self.assertEqual(self.verdict(results, "nginx")["value"], 1.0)

    def test_the_bar_itself_passes_and_above_it_misses(self):
        for value, expected in ((9.0, "PASS"), (9.01, "MISS")):
            results = rounds_of("post1k-32", {"tidegate": {"cpu_per": value}, "nginx": {"cpu_per": 10.0}})
            self.assertEqual(self.verdict(results, "nginx")["verdict"], expected)

    def test_added_latency_is_counted_against_the_backend_itself(self):
        results = rounds_of("body220k-20", {"tidegate": {"p50_us": 2500, "cpu_per": 1}, "direct": {"p50_us": 1000}})
        self.assertEqual(self.verdict(results, "added p50")["value"], 1500)

    def test_a_peer_that_did_not_run_leaves_its_bar_open(self):
        results = rounds_of("post1k-32", {"tidegate": {"cpu_per": 1.0}})
        self.assertEqual(self.verdict(results, "nginx")["verdict"], "NOT RUN")

    def test_too_few_good_rounds_are_no_verdict(self):
        results = {"post1k-32": {"rounds": [], "void": [{"nginx": {"status 502": 3}}], "complete": False}}
        self.assertEqual(self.verdict(results, "nginx")["verdict"], "VOID")

    def test_a_selection_is_judged_by_its_time_and_its_allocations(self):
        def row(policy, ns, allocations):
            return {"policy": policy, "workers": 8, "ns": ns, "least_ns": ns, "allocations": allocations}

        found = report.judge_selection({"selection": [row("power_of_two", 100.1, 0), row("least_requests", 900, 1)]})
        self.assertEqual([(v["what"], v["verdict"]) for v in found],
                         [("power_of_two: ns a selection", "MISS"), ("power_of_two: allocations", "PASS"),
                          ("least_requests: allocations", "MISS")])


if __name__ == "__main__":
    unittest.main()
