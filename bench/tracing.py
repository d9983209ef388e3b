"""What tracing costs a tool turn: off, on without an SDK, and on with one that keeps nothing.

    python tracing.py [--turns 200] [--rounds 15] [--json FILE]

Each round runs fresh conversations of one turn (a tool call and its answer, two model calls) in
each way, interleaved; told are the median CPU time of a turn and the median of the ratios, paired
with `off`. The target is for the API alone, which is what a host without an SDK pays.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from sidetask import Agent, Runtime, tool
from sidetask.observe.tracing import Tracing
from sidetask.testing import ScriptedModel, call

TARGET = 1.2
"""The ratio of `api` to `off`."""

WAYS = {
    "off": False,
    "api": True,
    "sdk": Tracing(tracer_provider=TracerProvider(shutdown_on_exit=False)),
}


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def spent(way: str, turns: int) -> float:
    """Seconds of CPU for a turn."""
    async with Runtime(tracing=WAYS[way]) as runtime:
        model = ScriptedModel(call("add", a=1, b=2), "3", loop=True, record=False)
        chats = [await runtime.open(Agent(model, tools=[add])) for _ in range(turns)]
        gc.collect()
        gc.disable()
        begun = time.process_time()
        for chat in chats:
            reply = await chat.ask("How much?")
            assert reply.text == "3", "a wrong answer"
        used = time.process_time() - begun
        gc.enable()
    return used / turns


async def compare(turns: int, rounds: int) -> list[dict]:
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for round_ in range(rounds + 2):
        for way in WAYS:
            seconds = await spent(way, turns)
            if round_ >= 2:
                found[way].append(seconds)
    return [
        {
            "way": way,
            "us": statistics.median(values) * 1e6,
            "ratio": statistics.median(
                own / base for own, base in zip(values, found["off"], strict=True)
            ),
        }
        for way, values in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = asyncio.run(compare(given.turns, given.rounds))
    for row in rows:
        print(f"{row['way']:4} {row['us']:8.1f} us a turn {row['ratio']:6.2f} x")
    api = next(row for row in rows if row["way"] == "api")
    print("met" if api["ratio"] <= TARGET else "MISSED", f"api <= {TARGET} x off")
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
