"""What is written to an old conversation in the moment in which it is forgotten, on a server.

One of the two comes first: it stays with what was written, or who writes is told that it is gone.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from sidetask.client import Client
from sidetask.core.errors import ConversationNotFoundError, ConversationTakenError
from sidetask.core.ids import ConversationId
from sidetask.core.messages import user_message
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.stored import ORDERS
from tests.limits import HANG
from tests.stores.conftest import new_database
from tests.stores.samples import QUESTION, C, conversation, fact, question

T = TypeVar("T")

pytestmark = pytest.mark.postgres


@pytest.fixture
def anyio_backend() -> str:
    """Two connections meet in a database."""
    return "asyncio"


BACK = user_message("I am back")


@pytest.fixture
async def two(server: str) -> AsyncGenerator[tuple[Store, Store]]:
    """Two processes' stores, and in them a conversation that is old."""
    url = new_database(server)
    here, there = open_store(url), open_store(url)
    here.save(conversation(C))
    here.append(fact(1))
    await here.commit_turn(C, (BACK,))
    await there.start()
    yield here, there
    for store in (here, there):
        await store.close()


@asynccontextmanager
async def held_up(
    server: str, table: str
) -> AsyncGenerator[Callable[[int], Coroutine[Any, Any, bool]]]:
    """Who writes to a table waits while this lasts. Gives what tells whether so many do."""
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    with psycopg.connect(server) as holding, psycopg.connect(server, autocommit=True) as looking:
        holding.execute(f"LOCK TABLE sidetask.{table} IN EXCLUSIVE MODE".encode())

        async def do_wait(many: int) -> bool:
            await asyncio.sleep(0.002)
            waiting = looking.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return waiting is not None and waiting[0] >= many

        yield do_wait
        holding.commit()


async def test_a_conversation_that_is_written_to_while_old_ones_are_forgotten_stays(
    server: str, two: tuple[Store, Store]
) -> None:
    here, there = two
    async with (
        asyncio.timeout(HANG),
        asyncio.TaskGroup() as group,
        held_up(server, "messages") as do_wait,
    ):
        group.create_task(here.commit_turn(C, (BACK,), at=1))
        while not await do_wait(1):
            pass
        forgetting = group.create_task(there.vacuum(5.0))
        while not (forgetting.done() or await do_wait(2)):
            pass
    assert list(forgetting.result()) == []
    assert list(await there.history(C)) == [BACK, BACK]
    assert await there.conversation(C) is not None


async def test_a_conversation_in_which_something_is_opened_meanwhile_stays(
    server: str, two: tuple[Store, Store]
) -> None:
    here, there = two

    async def open_one() -> None:
        here.put(question("q"))
        await here.count(C, "written", 1)  # in the same transaction

    async with (
        asyncio.timeout(HANG),
        asyncio.TaskGroup() as group,
        held_up(server, "counters") as do_wait,
    ):
        group.create_task(open_one())
        while not await do_wait(1):
            pass
        forgetting = group.create_task(there.vacuum(5.0))
        while not (forgetting.done() or await do_wait(2)):
            pass
    assert list(forgetting.result()) == []
    assert [each.id for each in await there.find(QUESTION)] == ["q"]


async def test_what_is_claimed_in_a_transaction_of_the_programs_own_keeps_its_conversation(
    server: str, two: tuple[Store, Store]
) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    here, there = two
    assert isinstance(here, SqlStore)
    with psycopg.connect(server) as mine:
        await here.claim_within(mine, question("q"))
        assert list(await there.vacuum(5.0)) == []
        mine.commit()
    assert [each.id for each in await there.find(QUESTION)] == ["q"]
    assert list(await there.history(C)) == [BACK]


async def then(
    server: str, store: Store, write: Coroutine[Any, Any, T]
) -> tuple[asyncio.Task[Sequence[ConversationId]], asyncio.Task[T]]:
    """The old conversation is being forgotten when the write begins; both are under way."""
    async with held_up(server, "facts") as do_wait:
        forgetting = asyncio.create_task(store.vacuum(5.0))
        while not await do_wait(1):
            pass
        writing = asyncio.create_task(write)
        while not (writing.done() or await do_wait(2)):
            pass
    return forgetting, writing


async def test_who_writes_to_what_is_being_forgotten_learns_that_it_is_gone(
    server: str, two: tuple[Store, Store]
) -> None:
    here, there = two
    async with asyncio.timeout(HANG):
        forgetting, writing = await then(server, there, here.commit_turn(C, (BACK,), at=1))
        with pytest.raises(ConversationTakenError):
            await writing
        assert list(await forgetting) == [C]
    assert list(await there.history(C)) == []


async def test_what_is_opened_in_what_is_being_forgotten_comes_after(
    server: str, two: tuple[Store, Store]
) -> None:
    here, there = two

    async def open_two() -> None:
        here.put(question("put"))
        await here.swap(question("claimed"), expect=None)

    async with asyncio.timeout(HANG):
        forgetting, writing = await then(server, there, open_two())
        assert list(await forgetting) == [C]
        await writing
    assert [each.id for each in await there.find(QUESTION)] == ["put", "claimed"]


async def test_who_speaks_in_what_is_being_forgotten_is_told_that_nobody_hears_it(
    server: str, two: tuple[Store, Store]
) -> None:
    here, there = two
    async with asyncio.timeout(HANG):
        forgetting, sending = await then(server, there, Client(here).send(C, "hello?"))
        with pytest.raises(ConversationNotFoundError):
            await sending
        assert list(await forgetting) == [C]
    assert list(await there.find(ORDERS, open=True)) == []
