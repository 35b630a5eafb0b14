#!/usr/bin/env python3
"""Tidegate beside nginx, HAProxy and a bare byte relay, in turn before one backend. README.md tells how to read it."""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import report
import scenarios
from proxies import BenchError, Fleet, find_binary

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KNOWN = ("bare", "nginx", "haproxy", "tidegate")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tidegate", default=ROOT / "build/release/bin/tidegate", help="the gateway's binary")
    parser.add_argument("--tools", help="directory of the built tools (default: builds them in build/bench-tools)")
    parser.add_argument("--proxies", default=",".join(KNOWN), help="which to compare (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[],
                        help="a scenario or group, may be repeated: post1k, streams, body220k, select, post1k-32, ...")
    parser.add_argument("--quick", action="store_true", help="3 shorter rounds; not for publication")
    parser.add_argument("--rounds", type=int, help="good rounds of each scenario (default: 5, or 3 with --quick)")
    parser.add_argument("--max-void", type=int, default=3, help="void rounds after which a scenario is given up")
    parser.add_argument("--threads", type=int, default=2, help="loops, workers or threads of every proxy")
    parser.add_argument("--select-bench", help="program that prints a JSON table of selection costs")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write everything as JSON (- or nothing: "
                        "to the output, instead of the table)")
    parser.add_argument("--gate", action="store_true", help="exit with 3 if a bar is missed")
    options = parser.parse_args()
    options.proxies = [name for name in options.proxies.split(",") if name]
    unknown = set(options.proxies) - set(KNOWN)
    if unknown or not options.proxies:
        parser.error(f"--proxies: expected some of {', '.join(KNOWN)}, found {', '.join(unknown) or 'none'}")
    options.rounds = options.rounds or (3 if options.quick else 5)
    return options


def build_tools():
    build = ROOT / "build/bench-tools"
    for command in (["cmake", "-S", HERE, "-B", build, "-DCMAKE_BUILD_TYPE=Release"],
                    ["cmake", "--build", build, "--parallel", "2"]):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"cannot build the benchmark's tools:\n{(done.stdout + done.stderr)[-3000:]}")
    return build


def first_line(command):
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired) as error:
        return f"unknown ({error})"


def machine(options):
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    versions = {}
    if "nginx" in options.proxies:
        versions["nginx"] = first_line([find_binary("nginx", "nginx-light"), "-v"])
    if "haproxy" in options.proxies:
        versions["haproxy"] = first_line([find_binary("haproxy", "haproxy"), "-v"])
    if "tidegate" in options.proxies:
        versions["tidegate"] = first_line([options.tidegate, "--version"])
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "threads": options.threads,
            "load_before": os.getloadavg()[0], "rounds": options.rounds, "quick": options.quick, "versions": versions}


def select_table(program):
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise BenchError(f"{program} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def chosen(options):
    listed = scenarios.all_scenarios(options.quick)
    if not options.only:
        return listed
    names = {s.name for s in listed} | {s.group for s in listed} | {"select"}
    unknown = set(options.only) - names
    if unknown:
        raise BenchError(f"--only: expected some of {', '.join(sorted(names))}, found {', '.join(sorted(unknown))}")
    return [s for s in listed if s.name in options.only or s.group in options.only]


def run(options):
    if "tidegate" in options.proxies and not os.access(options.tidegate, os.X_OK):
        raise BenchError(f"no gateway at {options.tidegate}; build it, name it with --tidegate, or leave it out with "
                         f"--proxies bare,nginx,haproxy")
    wanted = chosen(options)
    found = {"machine": machine(options), "scenarios": {}}
    if wanted:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
            fleet = Fleet(directory, options.tools or build_tools(), options.tidegate, options.threads)
            fleet.start_backend()
            try:
                for scenario in wanted:
                    found["scenarios"][scenario.name] = scenarios.run_scenario(
                        fleet, scenario, options.proxies, options.rounds, options.max_void)
            finally:
                fleet.backend.stop()
    if options.select_bench and (not options.only or "select" in options.only):
        found["select"] = select_table(options.select_bench)
    found["medians"] = {name: report.medians(result) for name, result in found["scenarios"].items()}
    found["bars"] = report.judge(found["scenarios"], "tidegate") if "tidegate" in options.proxies else []
    if "select" in found:
        found["bars"] += report.judge_selection(found["select"])
    return found


def show(found):
    about = found["machine"]
    print(f"{about['date']}, {about['cores']} x {about['cpu']}, Linux {about['kernel']}, load before "
          f"{about['load_before']:.2f}")
    print("; ".join(about["versions"].values()))
    print(f"{about['threads']} threads a proxy, medians of {about['rounds']} interleaved rounds"
          f"{' (quick: shorter windows)' if about['quick'] else ''}; client, backend and proxy share the cores, "
          f"nothing is pinned; CPU us is per request or per chunk")
    others = [report_["others_cpu"] for result in found["scenarios"].values() for round_ in result["rounds"]
              for report_ in round_.values()]
    if others:
        print(f"CPU that other processes took meanwhile: median {median(others):.0%}, at most {max(others):.0%}"
              f"{' - too much for numbers to rely on' if median(others) > 0.05 else ''}")
    print()
    print("\n".join(report.table_lines(found["scenarios"])))
    if "select" in found:
        print("\nOne selection (candidates, pick, checks), medians of interleaved rounds:")
        print("\n".join(report.selection_lines(found["select"])))
    if found["bars"]:
        print("\n" + "\n".join(report.verdict_lines(found["bars"])))


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is stopped on the way out
    try:
        found = run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json == "-":
        print(json.dumps(found, indent=1))
    else:
        show(found)
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1))
    if not all(result["complete"] for result in found["scenarios"].values()):
        return 1
    return 3 if options.gate and any(bar["verdict"] == "MISS" for bar in found["bars"]) else 0


if __name__ == "__main__":
    sys.exit(main())
