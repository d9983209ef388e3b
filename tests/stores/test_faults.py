"""Databases that are full, read-only, damaged, too new, or somebody else's."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.core.errors import (
    ConfigurationError,
    ConversationTakenError,
    StoreClosedError,
    StoreCorruptError,
    StoreUnavailableError,
    StoreVersionError,
)
from sidetask.core.events import TaskStarted
from sidetask.core.ids import TaskId
from sidetask.core.messages import user_message
from sidetask.stores.base import follow
from sidetask.stores.sql.driver import Connection, Passing, Row
from sidetask.stores.sql.schema import MIGRATIONS, VERSION
from sidetask.stores.sql.sqlite import SqliteDriver, sqlite_store
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.stored import RESULTS
from tests.stores.samples import QUESTION, C, D, conversation, entry, fact, job, question, result
from tests.stores.test_line import is_anybodys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqlStore]:
    store = sqlite_store(path)
    yield store
    await store.close()


async def ask(store: SqlStore, sql: str) -> list[Row]:
    return await store._line.submit(lambda db: db.rows(sql))  # pyright: ignore[reportPrivateUsage]


async def set_full(store: SqlStore, is_full: bool) -> None:
    pages = (await ask(store, "PRAGMA page_count"))[0][0] if is_full else 1_000_000
    await ask(store, f"PRAGMA max_page_count = {pages}")


def big(seq: int) -> TaskStarted:
    return replace(fact(seq), name="x" * 10_000)


async def fill(store: SqlStore) -> int:
    """Append until the disk is full; returns the last seq that was taken."""
    await set_full(store, True)
    for seq in range(1, 1000):
        store.append(big(seq))
    with pytest.raises(StoreUnavailableError, match="the disk is full; make room"):
        await store.stored()
    return 999


# -- a full disk -------------------------------------------------------------------------------


async def test_a_full_disk_refuses_what_is_new_and_loses_nothing_that_was_taken(
    store: SqlStore,
) -> None:
    last = await fill(store)
    with pytest.raises(StoreUnavailableError):
        store.append(fact(last + 1))
    with pytest.raises(StoreUnavailableError):
        store.put(question("q"))
    with pytest.raises(StoreUnavailableError):
        await store.commit_turn(C, [user_message("hi")])
    await set_full(store, False)
    await store.stored()
    store.append(fact(last + 1))
    assert [each.seq for each in await store.facts(C)] == list(range(1, last + 2))
    assert list(await store.history(C)) == []  # its caller was told that it was not written


async def test_work_goes_on_by_itself_when_the_disk_has_room(store: SqlStore) -> None:
    last = await fill(store)
    await set_full(store, False)
    await asyncio.sleep(10)  # on the virtual clock
    store.append(fact(last + 1))
    assert await store.last_seq(C) == last + 1


async def test_closing_on_a_full_disk_says_that_not_all_was_written(store: SqlStore) -> None:
    await fill(store)
    with pytest.raises(StoreUnavailableError):
        await store.close()
    await store.close()


async def test_a_database_that_is_slower_than_the_program_bounds_what_waits(path: Path) -> None:
    store = SqlStore(SqliteDriver(path), waiting=10)
    for seq in range(1, 11):
        store.append(fact(seq))
    with pytest.raises(StoreUnavailableError, match="10 writes wait"):
        store.append(fact(11))
    await store.stored()
    store.append(fact(11))
    assert await store.last_seq(C) == 11
    await store.close()


# -- files that cannot be used -------------------------------------------------------------------


class ReadOnly(SqliteDriver):
    """A file that this process may only read; root may write what is read-only."""

    def open(self):
        connection = super().open()
        connection.run("PRAGMA query_only = 1")
        return connection


async def test_a_read_only_file_can_be_read_and_says_that_it_is_read_only(path: Path) -> None:
    writer = sqlite_store(path)
    writer.append(fact(1))
    await writer.close()
    reader = SqlStore(ReadOnly(path))
    assert await reader.last_seq(C) == 1
    reader.append(fact(2))
    with pytest.raises(StoreUnavailableError, match="the file is read-only; make it"):
        await reader.stored()
    with pytest.raises(StoreUnavailableError):
        await reader.close()


async def test_a_new_file_where_nothing_may_be_written_is_an_error_at_the_start(
    path: Path,
) -> None:
    store = SqlStore(ReadOnly(path))
    with pytest.raises(StoreUnavailableError, match="read-only"):
        await store.start()
    await store.close()


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "nowhere" / "test.db")
    with pytest.raises(ConfigurationError, match=r"there is no folder .*nowhere: make it"):
        await store.start()
    await store.close()


@pytest.fixture
def diary(path: Path) -> Generator[Path]:
    path.write_text("dear diary, " * 1000)
    yield path
    assert path.read_text().startswith("dear diary")


async def test_a_file_that_is_no_database_is_left_as_it_is(diary: Path) -> None:
    store = sqlite_store(diary)
    with pytest.raises(StoreCorruptError, match="cannot be read: file is not a database"):
        await store.start()
    await store.close()


async def read(store: SqlStore, table: str) -> object:
    match table:
        case "facts":
            return await store.facts(C)
        case "messages":
            return await store.history(C)
        case "records":
            return await store.get(QUESTION, C, "q")
        case _:
            return await store.load_state(C)


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("facts", "fact 1 of c"),
        ("messages", "message 0 of c"),
        ("records", "question q of c"),
        ("state", "the state 'key'"),
    ],
)
@pytest.mark.parametrize("damage", ["{", "{}", "[1]", "null"])
async def test_a_damaged_row_is_an_error_that_names_it(
    store: SqlStore, table: str, where: str, damage: str
) -> None:
    store.append(fact(1))
    store.put(question("q"))
    store.save_state(C, [entry("key", 1)])
    await store.commit_turn(C, [user_message("hi")])

    def spoil(db: Connection) -> None:
        db.run(f"UPDATE sidetask_{table} SET data = ?", (damage,))

    await store._line.ask(C, spoil)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreCorruptError, match=f"{where} cannot be read"):
        await read(store, table)
    assert await store.last_seq(C) == 1  # the rest can be


class Stumbling(SqliteDriver):
    """A transaction fails as it begins: a server may say no to the second statement of that."""

    stumbles = 0

    def open(self):
        connection = super().open()
        begin = connection.begin

        def stumble() -> None:
            begin()
            if self.stumbles:
                self.stumbles -= 1
                raise StoreUnavailableError("it stumbled", "try again")

        connection.begin = stumble
        return connection


async def test_a_transaction_that_fails_as_it_begins_is_not_left_open(path: Path) -> None:
    driver = Stumbling(path)
    store = SqlStore(driver)
    await store.start()
    driver.stumbles = 1
    store.append(fact(1))
    with pytest.raises(StoreUnavailableError, match="stumbled"):
        await store.stored()
    assert [each.seq for each in await store.facts(C)] == [1]
    await store.close()


class Yielding(SqliteDriver):
    """Gives way to others at its first commits, as a server does to end a deadlock."""

    yields = 0

    def open(self):
        connection = super().open()
        commit = connection.commit

        def give_way() -> None:
            if self.yields:
                self.yields -= 1
                raise Passing("deadlock detected")
            commit()

        connection.commit = give_way
        return connection


async def test_who_has_to_give_way_again_and_again_writes_in_the_end(path: Path) -> None:
    driver = Yielding(path)
    store = SqlStore(driver)
    await store.start()
    driver.yields = 9
    store.append(fact(1))
    await store.stored()
    driver.yields = 10
    store.append(fact(2))
    with pytest.raises(StoreUnavailableError, match="others write the same: deadlock") as told:
        await store.stored()
    assert "bug" not in str(told.value)
    assert [each.seq for each in await store.facts(C)] == [1, 2]
    await store.close()


async def test_what_came_with_a_lost_connection_is_told_as_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    store = sqlite_store(folder / "test.db")
    store.append(fact(1))
    with pytest.raises(StoreUnavailableError, match=r"there is no folder .*later: make it") as told:
        await store.stored()
    assert "bug" not in str(told.value)
    folder.mkdir()
    assert [each.seq for each in await store.facts(C)] == [1]
    await store.close()


# -- versions ----------------------------------------------------------------------------------


def write_version_1(path: Path) -> None:
    """A database as version 1 left it."""
    with closing(sqlite3.connect(path)) as old, old:
        for statement in MIGRATIONS[0]:
            old.execute(
                statement.replace("{counter}", "INTEGER PRIMARY KEY AUTOINCREMENT").replace(
                    "{text}", "TEXT"
                )
            )
        old.execute("CREATE TABLE sidetask_migrations (version BIGINT PRIMARY KEY)")
        old.execute("INSERT INTO sidetask_migrations VALUES (1)")
        old.execute(
            "INSERT INTO sidetask_messages VALUES ('c', 0, ?)",
            ('{"v":1,"type":"user","parts":[{"type":"text","text":"from long ago"}]}',),
        )
    old.close()


async def test_an_old_database_opens_with_this_version(path: Path, store: SqlStore) -> None:
    write_version_1(path)
    assert list(await store.history(C)) == [user_message("from long ago")]
    store.save_state(C, [entry("new", 1)])
    assert await store.count(C, "usd", 1) == 1
    assert [each.key for each in await store.load_state(C)] == ["new"]


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    first = sqlite_store(path)
    await first.start()
    await first.close()
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("INSERT INTO sidetask_migrations VALUES (?)", (VERSION + 7,))
    newer.close()
    store = sqlite_store(path)
    with pytest.raises(StoreVersionError, match=f"version {VERSION + 7} .*upgrade sidetask"):
        await store.start()
    assert not is_anybodys(path), "no connection is left open"
    await store.close()


# -- two who write one conversation --------------------------------------------------------------


async def test_a_conversation_that_another_process_goes_on_with_is_stored_no_more(
    path: Path, store: SqlStore
) -> None:
    other = sqlite_store(path)
    for each in (store, other):
        each.append(fact(1))
        await each.stored()  # twice the same is one
    other.append(replace(fact(2), name="theirs"))
    await other.stored()
    store.append(fact(1, D))
    store.append(fact(2))
    store.append(fact(3))
    await store.stored()
    with pytest.raises(ConversationTakenError, match="another process has gone on with it"):
        store.append(fact(4))
    with pytest.raises(ConversationTakenError):
        await store.commit_turn(C, [user_message("hi")])
    store.append(fact(2, D))
    assert [each.seq for each in await store.facts(D)] == [1, 2]
    assert list(await store.facts(C)) == [fact(1), replace(fact(2), name="theirs")]
    assert await store.last_seq(C) == 2  # opened anew: it may go on from here
    store.append(fact(3))
    await store.stored()
    await other.close()


async def test_what_was_handed_over_while_a_fact_was_being_refused_is_not_written(
    path: Path, store: SqlStore
) -> None:
    other = sqlite_store(path)
    other.append(replace(fact(1), name="theirs"))
    await other.stored()
    await store.start()
    store.append(fact(1))
    await asyncio.sleep(0)  # it is on its way, and not refused yet
    store.append(fact(2))
    store.append(fact(1, D))
    store.queue.enqueue(job())
    asked = asyncio.create_task(store.commit_turn(C, [user_message("hi")]))
    await store.stored()
    with pytest.raises(ConversationTakenError):
        await asked
    assert [each.seq for each in await store.facts(C)] == [1]
    assert [each.seq for each in await store.facts(D)] == [1]
    assert list(await store.history(C)) == []
    assert list(await store.queue.find()) == []
    await other.close()


async def test_whose_conversation_was_taken_is_told_once_before_any_writer(
    path: Path, store: SqlStore
) -> None:
    other = sqlite_store(path)
    await other.commit_turn(C, [user_message("theirs")])
    other.append(replace(fact(1), name="theirs"))
    other.append(replace(fact(1, D), name="theirs"))
    await other.stored()
    told: list[str] = []
    end = store.on_taken(told.append)
    with pytest.raises(ConversationTakenError):
        await store.commit_turn(C, [user_message("hi")], at=0)
    assert told == [C]
    with pytest.raises(ConversationTakenError):
        store.append(fact(1))
    store.append(fact(1, D))
    await store.stored()
    assert told == [C, D]
    end()
    assert await store.last_seq(C) == 1  # it was opened anew, and taken once more
    store.append(fact(1))
    await store.stored()
    assert told == [C, D]
    await other.close()


# -- as one ------------------------------------------------------------------------------------


async def test_what_is_handed_over_without_an_await_is_written_as_one(
    path: Path, store: SqlStore
) -> None:
    """A process that died at any moment has left all of it or nothing."""
    await store.start()
    other = sqlite3.connect(path, isolation_level=None)
    both = """SELECT (SELECT count(*) FROM sidetask_facts),
        (SELECT count(*) FROM sidetask_records)"""
    seen: set[tuple[int, int]] = set()
    for round in range(1, 40):
        store.append(fact(round))
        store.put(result(f"task-{round}"))
        seen.add(other.execute(both).fetchone())
        await asyncio.sleep(0)
    other.close()
    assert all(facts == results for facts, results in seen)


async def test_a_turn_whose_write_fails_acknowledges_nothing(store: SqlStore) -> None:
    store.put(result("task-1"))
    await store.stored()
    await set_full(store, True)
    huge = [user_message("x" * 10_000_000)]
    with pytest.raises(StoreUnavailableError):
        await store.commit_turn(C, huge, ack=[TaskId("task-1")])
    await set_full(store, False)
    assert [each.id for each in await store.find(RESULTS, open=True)] == ["task-1"]
    assert list(await store.history(C)) == []


async def test_a_conversation_can_be_listed_while_another_store_writes(path: Path) -> None:
    one, two = sqlite_store(path), sqlite_store(path)
    one.save(conversation(C))
    two.save(conversation(D))
    await one.stored()
    await two.stored()
    assert [each.id for each in await one.conversations()] == [D, C]
    await one.close()
    await two.close()


async def test_following_ends_with_an_error_when_the_store_is_closed(store: SqlStore) -> None:
    store.append(fact(1))
    async with follow(store, C) as facts:
        assert await anext(facts) == fact(1)
        closing = asyncio.get_running_loop().create_task(store.close())
        with pytest.raises(StoreClosedError):
            await anext(facts)
        await closing


def test_a_store_goes_on_in_another_loop_when_its_first_was_cut_off(path: Path) -> None:
    store = sqlite_store(path)

    async def begin() -> None:
        await store.start()
        store.append(fact(1))
        await asyncio.sleep(0)  # the batch is taken, and the loop ends
        store.append(fact(2))

    async def go_on() -> list[int]:
        store.append(fact(3))
        found = [each.seq for each in await store.facts(C)]
        await store.close()
        return found

    asyncio.run(begin())
    assert asyncio.run(go_on()) == [1, 2, 3]
