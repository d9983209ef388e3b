"""A queue in a database that is old, full, damaged, or of somebody else's conversation."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.core.errors import (
    CodecError,
    ConversationTakenError,
    InvalidInputError,
    StoreUnavailableError,
)
from sidetask.stores.sql.schema import MIGRATIONS
from sidetask.stores.sql.sqlite import SqliteDriver, sqlite_store
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.remote.values import outcome_from_json
from tests.stores.samples import KEY, QUESTION, C, D, fact, job, question
from tests.stores.test_faults import set_full


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
    with pytest.raises(ConversationTakenError, match="another process has gone on with it"):
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


def damage(path: Path, column: str, id: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE sidetask_jobs SET {column} = '{{' WHERE id = '{id}'")
    database.close()


async def test_a_damaged_job_is_parked_and_holds_up_no_other(path: Path, store: SqlStore) -> None:
    for id in ("bad:1", "good:1"):
        store.queue.enqueue(job(id))
    await store.stored()
    damage(path, "data", "bad:1")
    assert [each.id for each in await store.queue.claim("w", [KEY], limit=2)] == ["good:1"]
    assert await store.queue.claim("w", [KEY], limit=2) == []
    found = await store.queue.get("bad:1")
    assert found is not None
    assert (found.status, found.data) == ("parked", {})
    assert "job bad:1 of c cannot be read: it is not JSON" in (found.error or "")


async def test_a_job_that_is_damaged_while_it_runs_is_reaped_and_holds_up_no_other(
    path: Path, store: SqlStore
) -> None:
    for id in ("bad:1", "good:1", "again:1"):
        store.queue.enqueue(job(id, on_crash="retry" if id == "again:1" else "fail"))
    await store.queue.claim("w", [KEY], limit=3)
    damage(path, "data", "bad:1")
    damage(path, "progress", "good:1")
    reaped = await store.queue.reap("w")
    assert [(each.id, each.status) for each in reaped] == [
        ("bad:1", "ended"),
        ("good:1", "ended"),
        ("again:1", "queued"),
    ]


async def test_a_damaged_job_can_be_cancelled_and_listed(path: Path, store: SqlStore) -> None:
    store.queue.enqueue(job("bad:1"))
    await store.stored()
    damage(path, "data", "bad:1")
    assert [each.status for each in await store.queue.find()] == ["queued"]
    stands = await store.queue.cancel("bad:1", "not wanted")
    assert stands is not None
    assert (stands.status, stands.error) == ("cancelled", "not wanted")


async def test_of_a_damaged_result_is_told_that_it_cannot_be_read(
    path: Path, store: SqlStore
) -> None:
    store.queue.enqueue(job("bad:1"))
    await store.queue.claim("w", [KEY], limit=1)
    await store.queue.finish("bad:1", "w", {"type": "completed"})
    damage(path, "result", "bad:1")
    found = await store.queue.get("bad:1")
    assert found is not None
    assert (found.status, found.result) == ("ended", {})
    with pytest.raises(CodecError, match="unknown type of outcome"):
        outcome_from_json(found.result or {})


async def test_half_a_letter_in_an_id_is_the_askers_mistake(store: SqlStore) -> None:
    with pytest.raises(InvalidInputError, match="the database cannot take this"):
        await store.queue.get("a\ud800b")
