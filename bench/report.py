"""Runs the benches that the project has targets for, and prints each ratio beside its target.

    python report.py [--json FILE] [--rounds N] [--only b1,b2] [--extend] [--show]

`harness` measures: the systems are interleaved, each round is a fresh process, the CPU-bound
benches alternate with the floor in the same process, and a ratio is the median of the paired
ratios. `floor` is hand-written asyncio; background tasks are compared with `raw_semaphore`, a
task for each job behind a semaphore. Nothing here gates: it tells.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import runner

SYSTEMS = {
    "b1": "floor,sidetask",
    "b2": "floor,sidetask",
    "b3": "floor,sidetask",
    "b4": "floor,sidetask",
    "b5": "floor,sidetask",
    "b6": "raw_semaphore,sidetask,sidetask_agents",
    "b6r": "raw_semaphore,sidetask",
    "b7": "raw_queue_bounded,sidetask",
    "b8t": "floor,sidetask",
    "b10": "sidetask",
    "b11": "sidetask",
    "b12": "sidetask",
    "b13": "sidetask",
}


class Results:
    """What was measured, by bench, metric and system."""

    def __init__(self, data: list[dict]) -> None:
        self._rows = {
            (found["bench"], row["metric"], found["system"]): row
            for found in data
            for row in found["rows"]
        }
        self.errors = [f"{r['bench']} {r['system']}: {r['error']}" for r in data if r["error"]]

    def value(self, bench: str, metric: str, system: str = "sidetask") -> float:
        return self._rows[bench, metric, system]["value"]

    def paired(self, bench: str, metric: str) -> float:
        return self._rows[bench, metric, "sidetask"]["ratio"]

    def ratio(self, bench: str, metric: str, to: str = "floor") -> float:
        return self.value(bench, metric) / self.value(bench, metric, to)


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: what it is about, where it ends, and how it is read from the results."""

    name: str
    limit: float
    read: Callable[[Results], float]
    unit: str = "x"


TARGETS = [
    Target("text turn", 20, lambda r: r.paired("b1", "turn")),
    Target(
        "turn 300 vs turn 10",
        1.2,
        lambda r: r.value("b1", "session turn #300") / r.value("b1", "session turn #10"),
    ),
    Target("turn with one tool", 15, lambda r: r.paired("b2", "1 tool")),
    Target("turn with 16 parallel tools", 5, lambda r: r.paired("b2", "16 parallel tools")),
    Target("loop of 200 steps, per step", 20, lambda r: r.paired("b2", "loop 200, per step")),
    Target("loop: growth exponent", 1.05, lambda r: r.value("b2", "growth exponent 100->200"), ""),
    Target("stream, per delta", 20, lambda r: r.paired("b3", "delta (of 1000)")),
    Target("1,000 agents, wall / ideal", 1.6, lambda r: r.value("b4", "wall/ideal N=1000")),
    Target(
        "CPU an agent, 10,000 / 1,000",
        1.2,
        lambda r: r.value("b4", "us per agent N=10000") / r.value("b4", "us per agent N=1000"),
    ),
    Target("loop lag p99", 20, lambda r: r.value("b13", "lag p99"), "ms"),
    Target("idle conversation", 8, lambda r: r.value("b4", "idle session (1 turn)"), "KiB"),
    Target("running task", 4, lambda r: r.value("b6r", "running job") / 1024, "KiB"),
    Target("queued task", 1.5, lambda r: r.value("b6r", "queued job") / 1024, "KiB"),
    Target(
        "no-op background task", 3, lambda r: r.ratio("b6", "noop, budget 100", "raw_semaphore")
    ),
    Target(
        "no-op agent, keys written",
        4,
        lambda r: (
            r.value("b6", "noop, budget 100", "sidetask_agents")
            / r.value("b6", "noop, budget 100", "raw_semaphore")
        ),
    ),
    Target("cancel 1,000 tasks", 6, lambda r: r.ratio("b8t", "cancel 1000")),
    Target("delivery, 1 subscriber", 2, lambda r: r.ratio("b7", "1 subs", "raw_queue_bounded")),
    Target("delivery, 10 subscribers", 2, lambda r: r.ratio("b7", "10 subs", "raw_queue_bounded")),
    Target(
        "delivery, 100 subscribers", 2, lambda r: r.ratio("b7", "100 subs", "raw_queue_bounded")
    ),
    Target("turn 300 / 10, compacted", 1.2, lambda r: r.value("b11", "turn 300 / turn 10"), ""),
    Target("3 listeners, handled event", 6, lambda r: r.value("b10", "handled event"), "us"),
    Target("a slow one among 10", 1.15, lambda r: r.value("b10", "with one slow / without")),
    Target("replay of 100,000 facts", 5, lambda r: r.value("b10", "replay / generator")),
    Target("state: get / dict", 10, lambda r: r.value("b12", "get / dict")),
    Target("state: set", 2.5, lambda r: r.value("b12", "set") / 1000, "us"),
    Target(
        "state: set, another watched", 1.2, lambda r: r.value("b12", "set, another key watched / set")
    ),
    Target("state: delivery / queue", 2, lambda r: r.value("b12", "delivery, 10 watchers / queue")),
    Target("state: fork / its writes", 5, lambda r: r.value("b12", "fork of 10,000 keys / its writes")),
    Target("state: fork, 10,000 / 100", 1.2, lambda r: r.value("b12", "fork of 10,000 keys / of 100")),
    Target("import, CPU", 2.7, lambda r: r.ratio("b5", "import (CPU)")),
]


def machine() -> str:
    """What it was measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text("utf-8").splitlines() if "model name" in line]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    load = f"{os.getloadavg()[0]:.1f}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cpu}, {os.cpu_count()} CPUs, load {load}; {python}; {platform.system()}"


def show(data: list[dict]) -> None:
    results = Results(data)
    print(f"\n{machine()}\n")
    print(f"{'':32}{'measured':>12}{'target':>10}")
    for target in TARGETS:
        try:
            found = target.read(results)
        except KeyError:
            continue
        verdict = "" if found <= target.limit else "  missed"
        measured, limit = f"{found:.2f} {target.unit:3}", f"{target.limit:g} {target.unit:3}"
        print(f"{target.name:32}{measured:>12}{limit:>10}{verdict}")
    for error in results.errors:
        print(f"! {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description="benches against their targets")
    parser.add_argument("--json", default="out.json", help="results are written to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(SYSTEMS), help="benches, by comma")
    parser.add_argument("--extend", action="store_true", help="add to what the file has already")
    parser.add_argument("--show", action="store_true", help="measure nothing: print the file")
    args = parser.parse_args()
    if not args.show:
        if not args.extend:  # else rounds of another day, or of other code, would be mixed in
            Path(args.json).unlink(missing_ok=True)
        version = platform.python_version().rpartition(".")[0]
        for bench in args.only.split(","):
            systems = SYSTEMS[bench].split(",")
            runner.run(systems, [bench], version, args.rounds, {}, 900, args.json)
    show(json.loads(Path(args.json).read_text("utf-8"))["results"])


if __name__ == "__main__":
    main()
