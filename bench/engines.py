"""What a durable task costs: `python bench/engines.py raw|wal|dbos|stored [tasks]`.

A task of three steps on a new SQLite file, one after the other and all at once. `raw` is DBOS by
itself, as it opens SQLite; `wal` is it with the SQLite that our engine opens for it, which is ten
times as fast; `dbos` and `stored` are the two engines.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sidetask.core.ids import ConversationId, TaskId
from sidetask.engines.base import Context, Engine, JobSpec

STEPS = 3


async def one() -> int:
    return 1


async def measure(
    label: str, count: int, start: Callable[[str], object], end: Callable[[str], Awaitable[object]]
) -> None:
    begun = time.perf_counter()
    for number in range(count):
        start(f"a{number}")
        await end(f"a{number}")
    single = (time.perf_counter() - begun) / count
    begun = time.perf_counter()
    for number in range(count):
        start(f"b{number}")
    for number in range(count):
        await end(f"b{number}")
    together = (time.perf_counter() - begun) / count
    print(f"{label}: {single * 1e3:.2f} ms one by one, {together * 1e3:.2f} ms each of {count}")


async def with_engine(engine: Engine, label: str, count: int) -> None:
    async def body(_: JobSpec, context: Context) -> None:
        for number in range(STEPS):
            await context.step(f"step {number}", one)

    def start(name: str) -> None:
        conversation = ConversationId("c")
        engine.submit(JobSpec(f"{name}:1", TaskId(name), 1, "n", "{}", conversation))

    engine.start(body, lambda _: None)
    start("first")
    await engine.result("first:1")
    await measure(label, count, start, lambda name: engine.result(f"{name}:1"))
    await engine.close()


async def stored(url: str, count: int) -> None:
    from sidetask.engines.stored import StoredEngine
    from sidetask.stores.opening import open_store
    from sidetask.tasks.durable.steps import StoredSteps

    store = open_store(url)
    await with_engine(StoredEngine(StoredSteps(store, time.time)), "stored", count)
    await store.close()


async def dbos(url: str, count: int) -> None:
    from sidetask.engines.dbos import DbosEngine

    await with_engine(DbosEngine(url), "dbos", count)


async def raw(url: str, count: int, *, wal: bool = False) -> None:
    from dbos import DBOS

    from sidetask.engines.dbos import sqlite_engine

    config: Any = {"name": "bench", "system_database_url": url, "log_level": "ERROR"}
    if wal:
        config["system_database_engine"] = sqlite_engine(url)
    DBOS(config=config)

    @DBOS.workflow()
    async def work() -> None:
        for number in range(STEPS):
            await DBOS.run_step_async({"name": f"step {number}"}, one)

    await asyncio.to_thread(DBOS.launch)
    running: dict[str, asyncio.Task[Any]] = {}

    def start(name: str) -> None:
        running[name] = asyncio.ensure_future(work())

    await measure("wal" if wal else "raw", count, start, lambda name: running[name])
    await asyncio.to_thread(DBOS.destroy)


if __name__ == "__main__":
    kinds = {"raw": raw, "wal": partial(raw, wal=True), "dbos": dbos, "stored": stored}
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        asyncio.run(kinds[sys.argv[1]](url, int(sys.argv[2]) if len(sys.argv) > 2 else 100))
