"""B6 (running): memory of a task that runs, and of one that is queued, each in a fresh process."""
from __future__ import annotations

import asyncio

from .. import measure
from ._agent import Wrong

ROLE = "dispatch"
TITLE = "memory of tasks"
PARAM_SETS = [{"mode": "running", "rounds": 2}, {"mode": "queued", "rounds": 2}]


async def run(make, params):
    n = params.get("n", 20_000)
    running = params.get("mode", "running") == "running"
    inside = 0
    gate = asyncio.Event()

    async def held(i):
        nonlocal inside
        inside += 1
        await gate.wait()
        return i

    first, d = make(), make()
    state: dict = {}
    # a first wave stays, so that what the interpreter takes once is not counted
    handles = [(first, await first.pend(held, 500, 500, {}))]
    await asyncio.sleep(0)
    measure.settle()
    before = measure.rss_kib()
    handles.append((d, await d.pend(held, n, n if running else 5, state)))
    for _ in range(5):
        await asyncio.sleep(0)
    measure.settle()
    used = measure.rss_kib() - before
    if running and inside < n:
        return []       # this system starts nothing before it is waited for
    gate.set()
    for adapter, handle in handles:
        await adapter.drain(handle)
    if len(state) != n:
        raise Wrong(f"{len(state)} results of {n}")
    return [{"metric": f"{'running' if running else 'queued'} job", "value": used * 1024 / n, "unit": "B", "n": n}]
