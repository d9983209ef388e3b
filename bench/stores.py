"""How fast facts are stored, beside a hand-written loop over the same library.

    python stores.py [--facts 50000] [--rounds 5]

The floor writes the same rows with the same library, synchronously: `json.dumps` of a dict that
is there already, and batches in one transaction each. The store makes the dict of the event,
checks it, and writes in its own thread, while the program goes on. A ratio is the median of the
paired ratios; the aim is 0.7.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from sidetask.core.codec import event_to_json
from sidetask.core.events import TaskStarted
from sidetask.stores.base import Store
from sidetask.stores.memory import MemoryStore
from sidetask.stores.sql.sqlite import sqlite_store

IN_A_TICK = 50
BATCH = 500


def facts(count: int) -> list[TaskStarted]:
    return [
        TaskStarted(
            seq=seq,
            at=1.0 * seq,
            conversation_id="conversation-1",
            turn_id="turn-1",
            task_id=f"task-{seq}",
            call_id=f"call-{seq}",
            name="crawl",
            attempt=1,
        )
        for seq in range(1, count + 1)
    ]


def floor(path: Path, made: list[dict]) -> float:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        "CREATE TABLE facts (c TEXT, seq BIGINT, at DOUBLE, data TEXT, PRIMARY KEY (c, seq))"
    )
    begin = time.perf_counter()
    for at in range(0, len(made), BATCH):
        rows = [
            (each["conversation_id"], each["seq"], each["at"], json.dumps(each))
            for each in made[at : at + BATCH]
        ]
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    took = time.perf_counter() - begin
    db.close()
    return took


async def ours(store: Store, made: list[TaskStarted]) -> float:
    await store.start()
    begin = time.perf_counter()
    for at in range(0, len(made), IN_A_TICK):
        for fact in made[at : at + IN_A_TICK]:
            store.append(fact)
        await asyncio.sleep(0)
    await store.stored()
    took = time.perf_counter() - begin
    await store.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--facts", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    made = facts(given.facts)
    dicts = [event_to_json(each) for each in made]
    floors, stores, memory = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            floors.append(floor(Path(folder) / f"floor-{number}.db", dicts))
            store = sqlite_store(Path(folder) / f"store-{number}.db")
            stores.append(asyncio.run(ours(store, made)))
            memory.append(asyncio.run(ours(MemoryStore(), made)))
    ratio = statistics.median(a / b for a, b in zip(floors, stores, strict=True))
    for name, times in (("floor", floors), ("sqlite", stores), ("memory", memory)):
        print(f"{name:8} {statistics.median(times) / given.facts * 1e6:6.2f} µs a fact")
    print(f"sqlite / floor: {ratio:.2f} of its speed (aim: 0.70)")


if __name__ == "__main__":
    main()
