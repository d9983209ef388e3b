"""Databases of earlier releases, with what those have written: they open, and nothing is lost."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sidetask.core.errors import StoreUnavailableError
from sidetask.core.jsons import Json
from sidetask.core.messages import user_message
from sidetask.stores.base import Store
from sidetask.stores.sql.driver import Connection, Driver
from sidetask.stores.sql.schema import MIGRATIONS, VERSION
from sidetask.stores.sql.sqlite import SqliteDriver
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.stored import RESULTS
from tests.stores.conftest import DATABASES
from tests.stores.samples import KEY, C, conversation, entry, fact, result

Row = tuple[Any, ...]


def text(**fields: Json) -> str:
    return json.dumps({**fields, "v": 1})


# What is written here is never changed: a release has written it.
FACT = text(
    kind="task_started",
    seq=1,
    at=1.0,
    conversation_id="c",
    turn_id=None,
    run_id=None,
    parent_id=None,
    task_id="task-1",
    call_id="call-1",
    name="tool",
    attempt=1,
)
RESULT = text(
    task_id="task-1",
    conversation_id="c",
    turn_id=None,
    name="crawl",
    content="é ☃",
    error_type=None,
    duration=0.0,
    call_ids=["call-1"],
    status="succeeded",
    value={"pages": [1, None, 2.5]},
    attachments=[],
    on_complete="continue",
    metadata={},
)
MESSAGE = text(type="user", parts=[{"type": "text", "text": "from long ago"}])
ENTRY = text(key="key", version=3, at=1.0, deleted=False, value=[1], origin={})

WRITTEN: list[list[tuple[str, Row]]] = [
    [  # by version 1
        (
            "conversations (id, agent, user_id, title, status, turns, created_at, updated_at)",
            ("c", "a", "ana", "Hello", "open", 2, 1.0, 1.0),
        ),
        ("messages (conversation_id, position, data)", ("c", 0, MESSAGE)),
        ("facts (conversation_id, seq, at, data)", ("c", 1, 1.0, FACT)),
        (
            "records (kind, conversation_id, id, status, open, at, data)",
            ("result", "c", "task-1", "loop", 1, 1.0, RESULT),
        ),
    ],
    [  # by version 2, besides
        (
            "state (space, owner, key, version, at, data)",
            ("conversation", "c", "key", 3, 1.0, ENTRY),
        ),
        ("counters (conversation_id, name, total)", ("c", "usd", 2.5)),
    ],
    [  # by version 3
        (
            "jobs (id, conversation_id, task_id, key, fingerprint, on_crash, at, data, status,"
            " claims)",
            ("job", "c", "task-1", KEY, "f", "retry", 1.0, text(data={"x": 1}), "queued", 0),
        ),
    ],
    [],  # version 4 has made a column, which the state's rows had not
]


def write(driver: Driver, version: int) -> None:
    """A database as a release of this version has left it."""
    made = driver.open()
    made.begin()
    driver.lock_schema(made)
    made.run("CREATE TABLE sidetask_migrations (version BIGINT PRIMARY KEY)")
    for each in range(version):
        for statement in MIGRATIONS[each]:
            made.run(statement.replace("{counter}", driver.counter).replace("{text}", driver.text))
        made.run("INSERT INTO sidetask_migrations VALUES (?)", (each + 1,))
        for table, row in WRITTEN[each]:
            marks = ", ".join("?" for _ in row)
            made.run(f"INSERT INTO sidetask_{table} VALUES ({marks})", row)
    made.commit()
    made.close()


def driver_of(url: str) -> Driver:
    if url.startswith("sqlite"):
        return SqliteDriver(Path(url.removeprefix("sqlite:///")))
    from sidetask.stores.sql.postgres import PostgresDriver  # noqa: PLC0415 - no part of the suite

    return PostgresDriver(url)


RELEASED = ["f2b98efed9f8", "39bb31a8a050", "7abae03c5853", "e65d20142576"]
"""What the statements of each version are."""


def test_a_migration_that_was_released_is_never_changed() -> None:
    digests = [sha256("\n".join(each).encode()).hexdigest()[:12] for each in MIGRATIONS]
    assert digests[: len(RELEASED)] == RELEASED, "add another one in its place"
    assert len(digests) == len(RELEASED), "enter the new one here"


def test_every_version_has_its_rows_here() -> None:
    assert len(WRITTEN) == VERSION, "write here what the version before the new one has written"


@pytest.mark.parametrize("version", range(1, VERSION + 1))
@pytest.mark.parametrize("url", DATABASES, indirect=True)
async def test_a_database_of_an_earlier_release_opens_with_all_that_it_has(
    url: str, opened: Callable[[], Store], version: int
) -> None:
    write(driver_of(url), version)
    store = opened()
    [found] = await store.conversations()
    assert found == conversation("c", user="ana", title="Hello", turns=2)
    assert list(await store.history(C)) == [user_message("from long ago")]
    assert list(await store.facts(C)) == [fact(1)]
    [open_one] = await store.find(RESULTS, conversation_id=C, open=True)
    assert open_one == result("task-1")
    state = [entry("key", [1], 3)] if version >= 2 else []
    assert list(await store.load_state(C)) == state
    assert await store.count(C, "usd", 1) == (3.5 if version >= 2 else 1)
    claimed = await store.queue.claim("w", [KEY], limit=5)
    assert [(job.id, job.data) for job in claimed] == [("job", {"x": 1})] * (version >= 3)


@pytest.mark.parametrize("url", DATABASES, indirect=True)
async def test_a_database_whose_making_fails_half_way_is_as_it_was_and_is_made_later(
    url: str,
) -> None:
    driver = driver_of(url)
    opening, fails = driver.open, [True]

    def failing() -> Connection:
        connection = opening()
        run = connection.run

        def run_or_fail(sql: str, values: Sequence[object] = ()) -> int:
            if fails and values == (VERSION,):
                raise StoreUnavailableError("the disk is full", "make room")
            return run(sql, values)

        connection.run = run_or_fail
        return connection

    driver.open = failing
    store = SqlStore(driver)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="the disk is full"):
            await store.start()
        looking = opening()
        assert not driver.has_tables(looking)
        looking.close()
    fails.clear()
    store.append(fact(1))
    assert list(await store.facts(C)) == [fact(1)]
    await store.close()


@pytest.mark.parametrize("url", DATABASES, indirect=True)
async def test_it_is_written_on_as_one_of_this_release(
    url: str, opened: Callable[[], Store]
) -> None:
    write(driver_of(url), 1)
    old, other = opened(), opened()
    await old.start()
    await other.start()  # finds it as it has to be
    old.append(fact(2))
    old.save_state(C, [entry("key", "new", 4)])
    await old.commit_turn(C, [user_message("from now")], ack=[result("task-1").value.task_id])
    assert await other.last_seq(C) == 2
    assert [each.value for each in await other.load_state(C)] == ["new"]
    assert list(await other.history(C)) == [user_message("from long ago"), user_message("from now")]
    assert list(await other.find(RESULTS, conversation_id=C, open=True)) == []
