"""B13: how late the event loop is with 100 streams and 2,000 tasks alive.

Each stream gives 50 pieces a second to one reader, as a model does; the tasks sleep, and tell of
their progress once a second. A ticker sleeps 5 ms at a time and notes how late it wakes.
"""
from __future__ import annotations

import asyncio
import time

from .. import measure

ROLE = "lag"
TITLE = "lag of the loop"
TICK = 0.005
PACE = 0.02


async def run(make, params):
    streams, tasks, seconds = params.get("streams", 100), params.get("tasks", 2000), params.get("secs", 4)
    load = make()
    await load.begin(streams, tasks, PACE)
    await asyncio.sleep(1.0)      # the first wave is over
    measure.settle()
    late = []
    with measure.Clock() as c:
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            await asyncio.sleep(TICK)
            late.append(time.perf_counter() - now - TICK)
    pieces = await load.end()
    late.sort()
    rows = [{"metric": f"lag p{p}", "value": late[int(len(late) * p / 100)] * 1e3, "unit": "ms"} for p in (50, 99)]
    rows.append({"metric": "lag max", "value": late[-1] * 1e3, "unit": "ms"})
    rows.append({"metric": "CPU of the loop", "value": c.cpu / c.wall * 100, "unit": "%"})
    rows.append({"metric": "pieces a second", "value": pieces / (seconds + 1.0), "unit": "1/s"})
    return rows
