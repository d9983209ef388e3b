"""A queue in a database that is old, full, damaged, or of somebody else's conversation."""

import sqlite3
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.core.errors import StoreCorruptError, StoreRefusedError, StoreUnavailableError
from sidetask.stores.sql.schema import MIGRATIONS
from sidetask.stores.sql.sqlite import SqliteDriver, sqlite_store
from sidetask.stores.sql.store import SqlStore
from tests.stores.samples import KEY, QUESTION, C, D, fact, job, question
from tests.stores.test_faults import ask, set_full


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqlStore]:
    store = sqlite_store(path)
    yield store
    await store.close()


def write_version_2(path: Path) -> None:
    """The database of a release that had no queue."""
    driver = SqliteDriver(path)
    made = driver.open()
    made.begin()
    driver.lock_schema(made)
    made.run("CREATE TABLE sidetask_migrations (version BIGINT PRIMARY KEY)")
    for version in (1, 2):
        for statement in MIGRATIONS[version - 1]:
            made.run(statement.replace("{counter}", driver.counter).replace("{text}", driver.text))
        made.run("INSERT INTO sidetask_migrations VALUES (?)", (version,))
    made.commit()
    made.close()


async def test_a_database_without_a_queue_gains_one(path: Path, store: SqlStore) -> None:
    write_version_2(path)
    store.queue.enqueue(job())
    assert [each.id for each in await store.queue.claim("w", [KEY], limit=1)] == ["task-1:1"]


async def test_who_may_not_go_on_with_a_conversation_starts_nothing_for_it(
    path: Path, store: SqlStore
) -> None:
    other = sqlite_store(path)
    other.append(replace(fact(1), name="theirs"))
    await other.stored()
    store.append(fact(1))
    store.queue.enqueue(job())
    store.queue.enqueue(job("task-2:1", D))
    await store.stored()
    with pytest.raises(StoreRefusedError, match="another process has gone on with it"):
        store.queue.enqueue(job("task-3:1"))
    assert [each.id for each in await other.queue.find()] == ["task-2:1"]
    await other.close()


async def test_on_a_full_disk_a_job_waits_with_what_was_written_beside_it(
    path: Path, store: SqlStore
) -> None:
    await store.start()
    await set_full(store, True)
    store.put(question("q"))
    store.queue.enqueue(job(data={"x": "x" * 100_000}))
    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        await store.queue.claim("w", [KEY], limit=1)
    with pytest.raises(StoreUnavailableError):
        store.queue.enqueue(job("task-2:1"))
    other = sqlite_store(path)
    assert (await other.queue.find(), await other.get(QUESTION, C, "q")) == ([], None)
    await set_full(store, False)
    assert [each.id for each in await store.queue.claim("w", [KEY], limit=9)] == ["task-1:1"]
    assert await other.get(QUESTION, C, "q") == question("q")
    await other.close()


async def test_a_damaged_job_is_parked_and_holds_up_no_other(path: Path, store: SqlStore) -> None:
    for id in ("bad:1", "good:1"):
        store.queue.enqueue(job(id))
    await store.stored()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE sidetask_jobs SET data = '{' WHERE id = 'bad:1'")
    database.close()
    assert [each.id for each in await store.queue.claim("w", [KEY], limit=2)] == ["good:1"]
    assert await store.queue.claim("w", [KEY], limit=2) == []
    with pytest.raises(StoreCorruptError, match="job bad:1 of c"):
        await store.queue.get("bad:1")

    ((status, error),) = await ask(
        store, "SELECT status, error FROM sidetask_jobs WHERE id = 'bad:1'"
    )
    assert (status, "it is not JSON" in error) == ("parked", True)
