"""What is measured: the scenarios, one measurement, and the rounds with their void ones."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from proxies import BenchError


@dataclass(frozen=True)
class Scenario:
    name: str
    group: str          # what --only names
    kind: str           # posts or streams
    connections: int
    window: float
    warmup: float
    body_bytes: int = 1024
    rate: float = 0     # arrivals a second (posts), chunks a second of each stream
    delay_ms: float = 0
    with_direct: bool = False

    def command(self, tools, address, pids):
        parts = [f"{tools}/load_client", self.kind, "--target", address, "--connections", self.connections,
                 "--window", self.window, "--warmup", self.warmup, "--body-bytes", self.body_bytes]
        if self.rate:
            parts += ["--rate", self.rate]
        if self.delay_ms:
            parts += ["--delay-ms", self.delay_ms]
        if pids:
            parts += ["--watch", ",".join(map(str, pids))]
        return [str(part) for part in parts]


def all_scenarios(quick):
    """9,500 streams get 2 chunks/s each, so that their sum is about that of 1,000 at 20: what two cores can hold
    beside the client and the backend."""
    window = 3 if quick else 5
    return [
        Scenario("post1k-32", "post1k", "posts", 32, window, 1),
        Scenario("post1k-256", "post1k", "posts", 256, window, 1),
        Scenario("streams-64", "streams", "streams", 64, window, 1, rate=20),
        Scenario("streams-1000", "streams", "streams", 1000, window, 2, rate=20),
        Scenario("streams-9500", "streams", "streams", 9500, window, 6, rate=2),
        Scenario("body220k-20", "body220k", "posts", 512, window + 2, 1.5, 220_000, 20, 1000, True),
        Scenario("body220k-200", "body220k", "posts", 2048, window + 2, 1.5, 220_000, 200, 1000, True),
    ]


class OthersMeter:
    """How much of all cores went to processes that are not the benchmark's: what makes its numbers doubtful."""

    def __init__(self, backend_pid):
        self.backend_pid = backend_pid
        self.start = self._read()

    def _read(self):
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        busy = (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
        for task in Path(f"/proc/{self.backend_pid}/task").iterdir():
            ours += int((task / "schedstat").read_text().split()[0]) / 1e9
        return time.monotonic(), busy - ours

    def share(self):
        (then, before), (now, after) = self.start, self._read()
        return max(0.0, (after - before) / ((now - then) * os.cpu_count()))


def measure(fleet, proxy, scenario):
    """One proxy, started for this alone, under one load. -> the client's report, derived numbers added."""
    meter = OthersMeter(fleet.backend.child.pid)
    process, address = fleet.start(proxy, scenario)
    try:
        command = scenario.command(fleet.tools, address, process.pids if process else [])
        limit = 60 + 3 * scenario.warmup + 2 * scenario.window
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        if process and process.child.poll() is not None:
            report["errors"] += 1
            report["messages"][f"{proxy} ended with status {process.child.returncode}"] = 1
    except subprocess.TimeoutExpired:
        report = {"errors": 1, "messages": {f"load client not done in {limit:.0f} s": 1}}
    finally:
        if process:
            process.stop()
    report["others_cpu"] = meter.share()
    derive(report, scenario)
    return report


def derive(report, scenario):
    if report["errors"] or not report.get("watched"):
        report["cpu_per"] = None
    else:
        counted = report["chunks"] if scenario.kind == "streams" else report["requests"]
        report["cpu_per"] = report["cpu_us"] / counted if counted else None
    if not report["errors"]:
        report["per_second"] = (report["chunks"] if scenario.kind == "streams" else report["requests"]) / report[
            "window_s"]
        wanted = scenario.rate * (scenario.connections if scenario.kind == "streams" else 1)
        report["behind"] = report["per_second"] < 0.97 * wanted
        report["memory_per"] = (report["rss_end"] - report["rss_idle"]) / scenario.connections


def run_scenario(fleet, scenario, proxies, rounds, max_void):
    """`rounds` good rounds, the proxies in turn in each, beginning with another one every time. A round in which
    any proxy erred or lost a byte is void and repeated; one in which the streams could not all be opened in time, with
    twice the time. -> {rounds: [{proxy: report}], void: [...], complete}."""
    names = (["direct"] if scenario.with_direct else []) + list(proxies)
    good, void = [], []
    while len(good) < rounds and len(void) <= max_void:
        turn = (len(good) + len(void)) % len(names)
        results, reasons = {}, {}
        for name in names[turn:] + names[:turn]:
            results[name] = measure(fleet, name, scenario)
            if results[name]["errors"]:
                reasons[name] = results[name]["messages"]
        if reasons:
            void.append(reasons)
            if "in the time allowed" in str(reasons):
                scenario = replace(scenario, warmup=2 * scenario.warmup)
            print(f"  {scenario.name}: a void round: {reasons}", file=sys.stderr, flush=True)
        else:
            good.append(results)
            print(f"  {scenario.name}: round {len(good)} of {rounds}", file=sys.stderr, flush=True)
    return {"rounds": good, "void": void, "complete": len(good) >= rounds}
