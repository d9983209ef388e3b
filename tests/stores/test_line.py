"""What is handed over is written by itself, and a store that is closed leaves nothing behind."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.core.errors import ConversationTakenError, StoreClosedError, StoreUnavailableError
from sidetask.core.messages import user_message
from sidetask.stores.sql.sqlite import SqliteDriver, sqlite_store
from sidetask.stores.sql.store import SqlStore
from tests.limits import HANG
from tests.stores.samples import D, conversation, fact
from tests.stores.test_cancellation import stuck, ticks
from tests.stores.waiting import until


class Disk(SqliteDriver):
    """A disk that may be full; it counts the transactions that were tried."""

    is_full = False
    tries = 0

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refused = threading.Event()
        self.answers = threading.Event()
        self.answers.set()

    def open(self):
        connection = super().open()
        begin = connection.begin

        def begin_if_there_is_room() -> None:
            self.tries += 1
            self.answers.wait(HANG)
            if self.is_full:
                self.refused.set()
                raise StoreUnavailableError("the disk is full", "make room")
            begin()

        connection.begin = begin_if_there_is_room
        return connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def disk(path: Path) -> Disk:
    return Disk(path)


@pytest.fixture
async def store(disk: Disk) -> AsyncGenerator[SqlStore]:
    store = SqlStore(disk)
    await store.start()
    yield store
    await store.close()


def seqs(path: Path) -> list[int]:
    """What another process reads."""
    with closing(sqlite3.connect(path)) as other:
        return [seq for (seq,) in other.execute("SELECT seq FROM sidetask_facts ORDER BY seq")]


# -- writing -----------------------------------------------------------------------------------


async def test_what_comes_while_others_are_written_is_written_by_itself(
    path: Path, store: SqlStore
) -> None:
    async with stuck(store):
        store.append(fact(2, D))
    await until(lambda: seqs(path) == [1, 2])


async def test_a_full_disk_is_tried_now_and_then(disk: Disk, store: SqlStore) -> None:
    disk.is_full, disk.tries = True, 0
    store.append(fact(1))
    await asyncio.sleep(10)  # on the virtual clock
    assert 10 <= disk.tries <= 15
    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        store.append(fact(2))
    disk.is_full = False


async def test_who_only_waits_for_what_is_written_can_be_cancelled_at_once(
    store: SqlStore,
) -> None:
    waiting = asyncio.get_running_loop().create_task(store.stored())
    async with stuck(store):  # it is part of the batch
        waiting.cancel()
        await ticks()
        assert waiting.cancelled()


async def test_the_line_goes_on_when_the_only_one_in_it_is_cancelled_as_its_turn_comes(
    path: Path, store: SqlStore
) -> None:
    async with closing_soon(sqlite_store(path)) as other:
        other.append(replace(fact(1), name="theirs"))
        await other.stored()
    store.append(fact(1))
    await asyncio.sleep(0)  # it is on its way, and is about to be refused
    asking = asyncio.get_running_loop().create_task(store.commit_turn(D, [user_message("hi")]))

    def stop(_: object) -> None:
        asking.cancel()

    store.on_taken(stop)
    await asyncio.wait({asking})
    assert asking.cancelled()
    store.append(fact(1, D))
    async with asyncio.timeout(HANG):
        await store.stored()
    with pytest.raises(ConversationTakenError):
        store.append(fact(2))


def test_what_a_loop_left_unwritten_is_written_in_the_next(path: Path) -> None:
    disk = Disk(path)
    store = SqlStore(disk)

    async def begin() -> None:
        await store.start()
        disk.is_full = True
        disk.answers.clear()
        store.append(fact(1))
        await asyncio.sleep(0)  # the batch is taken, and the loop ends

    async def go_on() -> None:
        store.append(fact(2))
        await store.stored()
        await store.close()

    asyncio.run(begin())
    disk.answers.set()
    assert disk.refused.wait(HANG)  # nobody hears of it
    disk.is_full = False
    asyncio.run(go_on())
    assert seqs(path) == [1, 2]


@pytest.mark.slow
def test_what_a_file_notes_for_others_is_bounded_and_its_numbers_go_on(path: Path) -> None:
    driver = SqliteDriver(path)
    with closing(driver.open()) as connection:
        connection.begin()
        driver.lock_schema(connection)
        connection.commit()
        for batch in range(3):
            connection.begin()
            connection.tell([f"{batch} {n}" for n in range(10_000)])
            connection.commit()
        assert connection.number() == 30_001
        [(noted,)] = connection.rows("SELECT count(*) FROM sidetask_touches")
    assert noted <= 20_000


# -- closing -----------------------------------------------------------------------------------


@asynccontextmanager
async def closing_soon(store: SqlStore) -> AsyncGenerator[SqlStore]:
    yield store
    await store.close()


def is_anybodys(path: Path) -> bool:
    """Whether a connection to it is open: with one, its mode cannot be changed."""
    with closing(sqlite3.connect(path, timeout=0)) as other:
        try:
            other.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError:
            return True
        return False


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "sidetask-store"]


async def test_a_closed_store_has_no_connection_and_no_thread(path: Path) -> None:
    before = threads()
    store = sqlite_store(path)
    store.append(fact(1))
    await store.stored()
    assert is_anybodys(path)
    [thread] = [each for each in threads() if each not in before]
    await store.close()
    assert not is_anybodys(path)
    await asyncio.to_thread(thread.join, HANG)
    assert not thread.is_alive()
    with pytest.raises(StoreClosedError):
        await store.start()


async def test_a_store_that_could_not_write_it_all_is_closed_nevertheless(
    path: Path, disk: Disk
) -> None:
    store = SqlStore(disk)
    await store.start()
    disk.is_full = True
    store.append(fact(1))
    with pytest.raises(StoreUnavailableError):
        await store.close()
    assert not is_anybodys(path)


async def test_who_closes_is_told_that_what_was_being_written_was_not(disk: Disk) -> None:
    store = SqlStore(disk)
    await store.start()
    async with stuck(store):  # nothing waits any more: it is in the thread
        disk.is_full = True
        shutting = asyncio.get_running_loop().create_task(store.close())
        await ticks()
    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        await shutting


async def test_what_could_not_be_written_stays_before_what_came_meanwhile(
    disk: Disk, store: SqlStore
) -> None:
    disk.answers.clear()
    store.save(conversation(D, title="first"))
    await ticks()  # it is in the thread
    store.save(conversation(D, title="last"))
    disk.is_full = True
    disk.answers.set()
    with pytest.raises(StoreUnavailableError):
        await store.stored()
    disk.is_full = False
    await store.stored()
    [found] = await store.conversations()
    assert found.title == "last"


async def test_a_question_that_failed_with_nothing_to_write_keeps_nobody_out_for_long(
    disk: Disk, store: SqlStore
) -> None:
    disk.is_full = True
    with pytest.raises(StoreUnavailableError):
        await store.count(D, "turns", 1)
    with pytest.raises(StoreUnavailableError):
        store.append(fact(1))
    disk.is_full = False
    await asyncio.sleep(1)
    store.append(fact(1))
    await store.stored()
