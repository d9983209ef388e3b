"""B10: listeners of every event; what one slow subscriber costs the others; replay."""

from __future__ import annotations

from .. import measure
from ._agent import Wrong

ROLE = "events"
TITLE = "listeners, a slow one, replay"

EVENTS, LISTENERS, SUBSCRIBERS, REPLAYED = 20_000, 3, 10, 100_000


async def _generator(facts):
    for fact in facts:
        yield fact


async def _timed(work, reps):
    """The median CPU seconds of `await work()`, which says how many it has seen."""
    cpu, seen = [], 0
    for rep in range(reps + 1):
        measure.settle()
        with measure.Clock() as clock:
            seen = await work()
        if rep:
            cpu.append(clock.cpu)
    return measure.median(cpu), seen


async def run(make, params):
    reps = params.get("reps", 5)
    events = make()
    rows = []

    handled, seen = await _timed(lambda: events.listen(EVENTS, LISTENERS), reps)
    if seen != EVENTS * LISTENERS:
        raise Wrong(f"{seen} events were handled instead of {EVENTS * LISTENERS}")
    rows.append({"metric": "handled event", "value": handled / seen * 1e6, "unit": "us"})

    even, _ = await _timed(lambda: events.fan_out(EVENTS, SUBSCRIBERS, slow=False), reps)
    odd, _ = await _timed(lambda: events.fan_out(EVENTS, SUBSCRIBERS, slow=True), reps)
    rows.append({"metric": "with one slow / without", "value": odd / even, "unit": "x"})

    facts = events.facts(REPLAYED)

    async def through_generator():
        count = 0
        async for _ in _generator(facts):
            count += 1
        return count

    floor, _ = await _timed(through_generator, reps)
    replay = await events.replayer(facts)
    replayed, seen = await _timed(replay, reps)
    if seen != REPLAYED:
        raise Wrong(f"{seen} facts were replayed instead of {REPLAYED}")
    rows.append({"metric": "replayed fact", "value": replayed / seen * 1e6, "unit": "us"})
    rows.append({"metric": "replay / generator", "value": replayed / floor, "unit": "x"})
    return rows
