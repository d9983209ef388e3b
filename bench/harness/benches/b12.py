"""B12: the shared state beside what it stands on: a dict, and a bounded queue for each reader.

All in one process, system and floor interleaved; a value is the median of the rounds.
"""
from __future__ import annotations

import asyncio
import time

from .. import measure
from ._agent import Wrong

ROLE = "state"
TITLE = "shared state"
KEYS = [f"key-{k}" for k in range(1000)]


def per_op(body, ops):
    """CPU seconds of one operation."""
    begun = time.process_time()
    body()
    return (time.process_time() - begun) / ops


async def run(make, params):
    reps = params.get("reps", 9)
    xs: dict[str, list[float]] = {}
    for _ in range(reps):
        measure.settle()
        for name, value in (*reads_and_writes(make), *forks(make), *await deliveries(make)):
            xs.setdefault(name, []).append(value)
    med = {name: measure.median(values) * 1e9 for name, values in xs.items()}
    rows = [{"metric": name, "value": value, "unit": "ns"} for name, value in med.items()]
    ratios = {
        "get / dict": med["get"] / med["get of a dict"],
        "set, another key watched / set": med["set, another key watched"] / med["set"],
        "delivery, 10 watchers / queue": med["delivery, 10 watchers"] / med["delivery, 10 queues"],
        "fork of 10,000 keys / its writes": med["fork of 10,000 keys"] / med["10 writes"],
        "fork of 10,000 keys / of 100": med["fork of 10,000 keys"] / med["fork of 100 keys"],
    }
    rows += [{"metric": name, "value": value, "unit": "x"} for name, value in ratios.items()]
    return rows


def reads_and_writes(make):
    state, plain = make(), dict.fromkeys(KEYS, 0)
    for key in KEYS:
        state.set(key, 0)
    get, look = state.get, plain.__getitem__

    def gets():
        for key in KEYS:
            get(key)

    def looks():
        for key in KEYS:
            look(key)

    def sets():
        for number, key in enumerate(KEYS):
            state.set(key, number, source="tool")

    def rounds(body):
        def many():
            for _ in range(20):
                body()
        return per_op(many, 20 * len(KEYS))

    rounds(sets)
    yield "get of a dict", rounds(looks)
    yield "get", rounds(gets)
    yield "set", rounds(sets)
    watch = state.watch("another")
    yield "set, another key watched", rounds(sets)
    watch.close()
    if state.get(KEYS[7]) != 7 or state.provenance(KEYS[7]).source != "tool":
        raise Wrong("the state does not say what was written")


def forks(make):
    big, small = make(), make()
    for number in range(10_000):
        big.set(f"key-{number}", number)
    for number in range(100):
        small.set(f"key-{number}", number)

    def write(state):
        for number in range(10):
            state.set(f"key-{number}", number)

    def forked(state):
        with state.fork() as fork:
            write(fork)

    def many(body, state):
        return per_op(lambda: [body(state) for _ in range(300)], 300)

    yield "10 writes", many(write, big)
    yield "fork of 10,000 keys", many(forked, big)
    yield "fork of 100 keys", many(forked, small)


async def deliveries(make, readers=10, rounds=40, batch=50):
    """What one change costs for each of ten that read it, and one item of a queue."""
    found = []
    state, heard = make(), 0

    async def follow(watch):
        nonlocal heard
        async for change in watch:
            heard += 1
            if change.new is None:
                return

    watches = [state.watch("key") for _ in range(readers)]
    tasks = [asyncio.ensure_future(follow(each)) for each in watches]
    await asyncio.sleep(0)
    begun = time.process_time()
    for number in range(rounds * batch):
        state.set("key", number)
        if number % batch == batch - 1:
            await asyncio.sleep(0)
    state.set("key", None)
    await asyncio.gather(*tasks)
    spent = time.process_time() - begun
    if heard != readers * (rounds * batch + 1):
        raise Wrong(f"{heard} changes were heard")
    found.append(("delivery, 10 watchers", spent / heard))

    async def drain(queue):
        while await queue.get() is not None:
            pass

    queues = [asyncio.Queue(1024) for _ in range(readers)]
    tasks = [asyncio.ensure_future(drain(each)) for each in queues]
    await asyncio.sleep(0)
    begun = time.process_time()
    for number in range(rounds * batch):
        for queue in queues:
            queue.put_nowait(number)
        if number % batch == batch - 1:
            await asyncio.sleep(0)
    for queue in queues:
        queue.put_nowait(None)
    await asyncio.gather(*tasks)
    spent = time.process_time() - begun
    found.append(("delivery, 10 queues", spent / heard))
    return found
