"""A conversation that another process has gone on with: who asks, and who deletes it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from sidetask.core.errors import ConversationTakenError, StoreRefusedError
from sidetask.core.messages import user_message
from sidetask.stores.sql.sqlite import sqlite_store
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
