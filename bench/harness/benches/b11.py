"""B11: what a turn costs late in a conversation that is compacted again and again.

Each turn calls a tool once, so doom-loop detection looks too. The window is a parameter; the
cost of a compaction (a model call, and a look at what is compacted) is part of the turns.
"""
from __future__ import annotations

import asyncio

from .. import measure
from ..script import Scenario, expected
from ._agent import Wrong

ROLE = "agent"
TITLE = "late turns of a compacted conversation"
MARKS = (10, 100, 300)
SPAN = 40


async def run(make, params):
    scenario = Scenario("tool", 1)
    cost = {mark: [] for mark in MARKS}
    compactions = 0
    for _ in range(params.get("reps", 5)):
        adapter = make()
        adapter.window = params.get("window", 2_000)
        await adapter.setup(scenario)
        session, turn = await adapter.session(), 0
        for mark in MARKS:
            while turn < mark:
                await adapter.turn(session, str(turn))
                turn += 1
            await asyncio.sleep(0)
            with measure.Clock() as clock:
                for _ in range(SPAN):
                    if await adapter.turn(session, str(turn)) != expected(scenario, str(turn)):
                        raise Wrong(f"turn {turn}")
                    turn += 1
            cost[mark].append(clock.cpu / SPAN)
        compactions = len(getattr(session, "compaction_indices", ()))
        await adapter.teardown()
    rows = [
        {"metric": f"turn #{mark}", "value": measure.median(cost[mark]) * 1e6, "unit": "us"}
        for mark in MARKS
    ]
    last, first = rows[-1]["value"], rows[0]["value"]
    rows.append({"metric": "turn 300 / turn 10", "value": last / first, "unit": ""})
    rows.append({"metric": "compactions", "value": compactions, "unit": ""})
    return rows
