"""Of a conversation nothing more is taken: another process has it, or a row of it is refused."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.core.errors import ConversationTakenError, StoreRefusedError, StoreUnavailableError
from sidetask.core.messages import user_message
from sidetask.stores.sql.sqlite import SqliteDriver, sqlite_store
from sidetask.stores.sql.store import SqlStore
from tests.stores.samples import C, D, fact


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqlStore]:
    made = sqlite_store(path)
    yield made
    await made.close()


async def test_what_is_asked_in_the_moment_in_which_that_turns_out_is_not_done(
    path: Path, store: SqlStore
) -> None:
    other = sqlite_store(path)
    other.append(replace(fact(1), name="theirs"))
    await other.stored()
    await other.close()
    await store.start()

    async def go_on() -> None:
        store.append(fact(1))
        await store.commit_turn(C, [user_message("hi")])

    async with asyncio.TaskGroup() as group:  # all of it is one batch
        asked = group.create_task(_refused(go_on()))
        counted = group.create_task(_refused(store.count(C, "turns", 1)))
        beside = group.create_task(store.count(D, "turns", 1))
        waits = group.create_task(store.stored())
    assert isinstance(asked.result(), ConversationTakenError)
    assert isinstance(counted.result(), ConversationTakenError)
    assert (beside.result(), waits.result()) == (1, None)
    assert (list(await store.history(C)), await store.last_seq(C)) == ([], 1)
    assert await store.count(C, "turns") == 0


async def _refused(asking: Awaitable[object]) -> StoreRefusedError:
    with pytest.raises(StoreRefusedError) as refused:
        await asking
    return refused.value


async def test_a_conversation_that_was_deleted_may_be_begun_anew_whoever_had_it(
    path: Path, store: SqlStore
) -> None:
    other = sqlite_store(path)
    other.append(replace(fact(1), name="theirs"))
    await other.stored()
    await other.close()
    store.append(fact(1))
    await store.stored()
    with pytest.raises(ConversationTakenError):
        store.append(fact(2))
    await store.delete(C)
    store.append(fact(1))
    await store.stored()
    assert list(await store.facts(C)) == [fact(1)]


class Failing(SqliteDriver):
    """A disk that fails at the end of a transaction, as often as it is told."""

    fails = 0

    def open(self):
        connection = super().open()
        commit = connection.commit

        def commit_or_fail() -> None:
            if self.fails:
                self.fails -= 1
                raise StoreUnavailableError("the disk failed", "check the disk")
            commit()

        connection.commit = commit_or_fail
        return connection


async def test_what_fails_while_that_is_being_found_out_is_written_later(path: Path) -> None:
    other, driver = sqlite_store(path), Failing(path)
    other.append(replace(fact(1), name="theirs"))
    await other.stored()
    await other.close()
    store = SqlStore(driver)
    await store.start()
    driver.fails = 1
    store.append(fact(1))
    store.append(fact(1, D))
    with pytest.raises(StoreUnavailableError, match="the disk failed"):
        await store.stored()
    with closing(sqlite3.connect(path, timeout=0)) as another, another:
        another.execute("BEGIN IMMEDIATE")  # nothing is left half done, in nobody's way
    await store.stored()
    assert list(await store.facts(D)) == [fact(1, D)]
    with pytest.raises(ConversationTakenError):
        store.append(fact(2))
    await store.close()


async def test_what_a_database_refuses_for_what_it_is_is_told_and_holds_up_nobody(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.start()
    store.append(fact(2**70))
    store.append(fact(1, D))
    await store.stored()
    assert list(await store.facts(D)) == [fact(1, D)]
    with pytest.raises(StoreRefusedError, match=C) as refused:
        store.append(fact(1))
    assert not isinstance(refused.value, ConversationTakenError)
    assert [each.getMessage() for each in caplog.records] == [str(refused.value)]
    assert await store.last_seq(C) == 0  # opened anew
    store.append(fact(1))
    await store.stored()
    assert list(await store.facts(C)) == [fact(1)]
