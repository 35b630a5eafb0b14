"""Medians, the table, and the bars."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Bar:
    scenario: str
    what: str
    metric: str      # a key of the client's report
    against: str     # a proxy whose number divides; "direct" subtracts; "" compares as it is
    limit: float
    unit: str = "x"


BARS = [
    Bar("post1k-32", "CPU per request, against nginx", "cpu_per", "nginx", 0.9),
    Bar("post1k-32", "CPU per request, against the bare relay", "cpu_per", "bare", 1.3),
    Bar("post1k-256", "CPU per request, against nginx", "cpu_per", "nginx", 0.9),
    Bar("post1k-256", "CPU per request, against the bare relay", "cpu_per", "bare", 1.3),
    Bar("streams-1000", "CPU per chunk, against nginx", "cpu_per", "nginx", 1.0),
    Bar("streams-1000", "CPU per chunk, against the bare relay", "cpu_per", "bare", 1.2),
    Bar("streams-9500", "memory per stream", "memory_per", "", 16 * 1024, "bytes"),
    Bar("body220k-20", "added p50, against the backend itself", "p50_us", "direct", 2000, "us"),
    Bar("body220k-20", "CPU per request, against nginx", "cpu_per", "nginx", 1.5),
    Bar("body220k-200", "added p50, against the backend itself", "p50_us", "direct", 2000, "us"),
    Bar("body220k-200", "CPU per request, against nginx", "cpu_per", "nginx", 1.5),
]


# What one selection may cost: the policies that look at a few candidates, whatever the fleet's size.
SELECT_NS = {"round_robin": 100, "power_of_two": 100}


def judge_selection(found):
    verdicts = []
    for row in found["selection"]:
        scenario = f"select-{row['workers']}"
        limits = [("ns", "ns a selection", SELECT_NS.get(row["policy"]), "ns"), ("allocations", "allocations", 0, "")]
        for key, what, limit, unit in limits:
            if limit is not None:
                verdicts.append({"scenario": scenario, "what": f"{row['policy']}: {what}", "limit": limit, "unit": unit,
                                 "subject": "tidegate", "value": row[key], "low": row.get("least_ns", row[key])
                                 if key == "ns" else row[key], "high": row[key],
                                 "verdict": "PASS" if row[key] <= limit else "MISS"})
    return verdicts


def selection_lines(found):
    lines = [f"{'policy':<16}{'workers':>8}{'ns':>9}{'least':>9}{'allocations':>13}"]
    lines += [f"{row['policy']:<16}{row['workers']:>8}{row['ns']:>9.1f}{row['least_ns']:>9.1f}{row['allocations']:>13g}"
              for row in found["selection"]]
    return lines


def value_of(bar, round_, proxy):
    own = round_[proxy][bar.metric]
    if bar.against == "direct":
        return own - round_["direct"][bar.metric]
    if bar.against:
        return own / round_[bar.against][bar.metric]
    return own


def judge(results, subject):
    """Each bar's verdict for `subject`: the median over the rounds of what the bar compares within a round."""
    verdicts = []
    for bar in BARS:
        result = results.get(bar.scenario)
        if result is None:
            continue
        needed = {subject} | ({bar.against} if bar.against else set())
        verdict = {"scenario": bar.scenario, "what": bar.what, "limit": bar.limit, "unit": bar.unit,
                   "subject": subject, "value": None}
        if not result["complete"]:
            verdict["verdict"] = "VOID"
        elif not needed <= set(result["rounds"][0]):
            verdict["verdict"] = "NOT RUN"
        else:
            values = [value_of(bar, round_, subject) for round_ in result["rounds"]]
            verdict.update(value=median(values), low=min(values), high=max(values),
                           verdict="PASS" if median(values) <= bar.limit else "MISS")
        verdicts.append(verdict)
    return verdicts


def medians(result):
    """-> {proxy: {metric: median over the good rounds}}"""
    table = {}
    for proxy in result["rounds"][0] if result["rounds"] else []:
        table[proxy] = {}
        for metric in ("cpu_per", "per_second", "p50_us", "p99_us", "memory_per"):
            values = [round_[proxy][metric] for round_ in result["rounds"]]
            if None not in values:
                table[proxy][metric] = median(values)
    return table


def table_lines(results):
    lines = [f"{'scenario':<14}{'proxy':<10}{'CPU us':>9}{'min..max':>16}{'/ bare':>8}{'/ nginx':>9}{'per second':>12}"
             f"{'p50 us':>10}{'p99 us':>10}{'B/stream':>10}"]
    for name, result in results.items():
        table = medians(result)
        if not table:
            lines.append(f"{name:<14}void: {result['void'][-1] if result['void'] else 'not run'}")
        for proxy in ("direct", "bare", "nginx", "haproxy", "tidegate"):
            if proxy not in table:
                continue
            row = table[proxy]
            cpu = row.get("cpu_per")
            cells = f"{name:<14}{proxy:<10}"
            if cpu is None:
                cells += " " * 42
            else:
                all_cpu = [round_[proxy]["cpu_per"] for round_ in result["rounds"]]
                cells += f"{cpu:>9.2f}{f'{min(all_cpu):.1f}..{max(all_cpu):.1f}':>16}"
                for base, width in (("bare", 8), ("nginx", 9)):
                    other = table.get(base, {}).get("cpu_per")
                    cells += f"{cpu / other:>{width}.2f}" if other else " " * width
            cells += f"{row['per_second']:>12.0f}{row['p50_us']:>10.0f}{row['p99_us']:>10.0f}"
            if name.startswith("streams") and proxy != "direct":
                cells += f"{row['memory_per']:>10.0f}"
            if any(round_[proxy]["behind"] for round_ in result["rounds"]):
                cells += "  behind the rate"
            lines.append(cells.rstrip())
        if result["void"]:
            lines.append(f"{'':<14}{len(result['void'])} void round(s)")
    return lines


def verdict_lines(verdicts):
    lines = []
    for v in verdicts:
        found = "-" if v["value"] is None else f"{v['value']:.2f} ({v['low']:.2f}..{v['high']:.2f})"
        lines.append(f"{v['verdict']:<8}{v['scenario']:<14}{v['what']}: {found} {v['unit']}, bar <= {v['limit']:g}")
    return lines
