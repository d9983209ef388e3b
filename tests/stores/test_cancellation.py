"""What becomes of a write whose caller is cancelled."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidetask.core.messages import user_message
from sidetask.stores.sql.sqlite import sqlite_store
from sidetask.stores.sql.store import SqlStore
from tests.limits import HANG
from tests.stores.samples import C, D, fact


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqlStore]:
    store = sqlite_store(tmp_path / "test.db")
    yield store
    await store.close()


@asynccontextmanager
async def stuck(store: SqlStore) -> AsyncGenerator[None]:
    """The database is busy, and a batch that was taken from the line waits for it."""
    go_on = threading.Event()
    busy = store._line.submit(lambda _: go_on.wait(HANG))  # pyright: ignore[reportPrivateUsage]
    store.append(fact(1, D))
    await ticks()
    yield
    go_on.set()
    await busy


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def commit(store: SqlStore, told: list[str]) -> asyncio.Task[None]:
    async def work() -> None:
        await store.commit_turn(C, [user_message("hi")])
        told.append("done")
        await asyncio.sleep(0)
        told.append("went on")

    return asyncio.get_running_loop().create_task(work())


async def test_a_commit_that_is_cancelled_in_time_is_not_written(store: SqlStore) -> None:
    told: list[str] = []
    async with stuck(store):
        task = commit(store, told)
        await ticks()
        task.cancel()
        await asyncio.wait({task})
    assert (task.cancelled(), told) == (True, [])
    assert list(await store.history(C)) == []


async def test_a_commit_that_is_cancelled_too_late_is_written_and_told(store: SqlStore) -> None:
    told: list[str] = []
    task = commit(store, told)
    async with stuck(store):
        for _ in range(2):
            task.cancel()
            await ticks()
        assert not task.done()
    await asyncio.wait({task})
    assert (task.cancelled(), told) == (True, ["done"])
    assert list(await store.history(C)) == [user_message("hi")]


async def test_a_timeout_that_strikes_while_a_commit_is_written_is_still_a_timeout(
    store: SqlStore,
) -> None:
    told: list[str] = []
    limit = asyncio.timeout(1000)

    async def work() -> None:
        async with limit:
            await store.commit_turn(C, [user_message("hi")])
            told.append("done")
            await asyncio.sleep(100)

    task = asyncio.get_running_loop().create_task(work())
    async with stuck(store):
        limit.reschedule(asyncio.get_running_loop().time())
        await ticks()
    await asyncio.wait({task})
    assert isinstance(task.exception(), TimeoutError)
    assert (told, task.cancelling()) == (["done"], 0)
