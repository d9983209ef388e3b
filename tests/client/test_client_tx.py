"""Something is said in a transaction of the program's own: with its rows, or not at all."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sidetask import Agent, AgentHandle, Runtime
from sidetask.client import Client
from sidetask.core.errors import ConfigurationError, ConversationNotFoundError, InvalidInputError
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel
from tests.limits import HANG
from tests.stores.conftest import DATABASES, new_database, server

__all__ = ["server"]

pytestmark = pytest.mark.slow

C = "it's ; DROP TABLE mine --"
"""A conversation whose name is no SQL."""


@pytest.fixture
def anyio_backend() -> str:
    """Two connections meet in a database."""
    return "asyncio"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return new_database(request.getfixturevalue("server"))


@pytest.fixture
async def chat(url: str) -> AsyncGenerator[AgentHandle]:
    agent = Agent(ScriptedModel(*["Yes."] * 9), name="clerk")
    async with Runtime(store=url, agents=[agent]) as runtime:
        chat = await runtime.open(agent, conversation_id=C)
        await chat.ask("hi")
        yield chat
        await chat.shutdown()


@pytest.fixture
async def client(url: str, chat: AgentHandle) -> AsyncGenerator[Client]:
    async with Client(url) as client:
        yield client


def connect(url: str) -> Any:
    """A connection of the program's, with a table of its own."""
    if url.startswith("sqlite"):
        made: Any = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=HANG)
    else:
        import psycopg  # noqa: PLC0415 - no part of the unit suite
        from psycopg.rows import dict_row  # noqa: PLC0415 - as above

        made = psycopg.Connection[Any].connect(url, row_factory=dict_row)
    made.execute("CREATE TABLE IF NOT EXISTS invoices (id INTEGER)")
    made.commit()
    return made


def said(chat: AgentHandle) -> list[str]:
    return [text for each in chat.history() if (text := getattr(each, "text", "")) != "Yes."]


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG):
        while not happened():  # noqa: ASYNC110 - another process sets no event here
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("of", ["connection", "cursor"])
async def test_it_is_heard_when_the_transaction_is_committed(
    url: str, client: Client, chat: AgentHandle, of: str
) -> None:
    with closing(connect(url)) as mine:
        tx = mine if of == "connection" else mine.cursor()
        tx.execute("INSERT INTO invoices VALUES (1)")
        await client.send(C, "An invoice came: 'one'", by="billing", tx=tx)
        await asyncio.sleep(0.5)
        assert said(chat) == ["hi"], "nobody hears of it before"
        mine.commit()
    await until(lambda: said(chat) == ["hi", "An invoice came: 'one'"])


async def test_what_is_rolled_back_was_never_said(
    url: str, client: Client, chat: AgentHandle
) -> None:
    with closing(connect(url)) as mine:
        mine.execute("INSERT INTO invoices VALUES (2)")
        await client.send(C, "never", tx=mine)
        mine.rollback()
        await client.send(C, "said", tx=mine)
        mine.commit()
        assert not mine.execute("SELECT id FROM invoices").fetchall()
    await until(lambda: said(chat) == ["hi", "said"])


async def test_a_request_that_is_repeated_is_said_once(
    url: str, client: Client, chat: AgentHandle
) -> None:
    with closing(connect(url)) as mine:
        for _ in range(2):
            await client.send(C, "pay 5", client_request_id="invoice-5", tx=mine)
            mine.commit()
        await until(lambda: said(chat) == ["hi", "pay 5"])
        await client.send(C, "pay 5", client_request_id="invoice-5", tx=mine)
        mine.commit()
    await client.send(C, "pay 5", client_request_id="invoice-5")
    await client.send(C, "the end")
    await until(lambda: said(chat)[-1] == "the end")
    assert said(chat) == ["hi", "pay 5", "the end"]


async def test_what_is_no_transaction_on_the_stores_database_is_refused(
    url: str, client: Client
) -> None:
    with closing(connect(url)) as mine:
        with pytest.raises(ConfigurationError, match=r"tx= is a .* not str"):
            await client.send(C, "hello", tx="mine")
        with pytest.raises(ConversationNotFoundError, match="yours"):
            await client.send("yours", "hello", tx=mine)
        with pytest.raises(InvalidInputError):
            await client.send(C, " ", tx=mine)
        mine.execute("INSERT INTO invoices VALUES (3)")  # its transaction is as whole as before
        mine.commit()
        if url.startswith("sqlite"):
            mine.isolation_level = None
        else:
            mine.autocommit = True
        with pytest.raises(ConfigurationError, match="autocommit mode: begin a transaction"):
            await client.send(C, "hello", tx=mine)
        mine.execute("BEGIN")
        await client.send(C, "hello", tx=mine)
        mine.execute("COMMIT")


async def test_another_database_is_named_as_such(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    async with Client(url) as client:
        with (
            closing(sqlite3.connect(tmp_path / "other.db")) as other,
            pytest.raises(ConfigurationError, match="another one than the store's"),
        ):
            await client.send(C, "hello", tx=other)


async def test_a_store_in_memory_takes_part_in_nothing() -> None:
    client = Client(MemoryStore())
    with pytest.raises(ConfigurationError, match="leave tx="):
        await client.send(C, "hello", tx=object())


@pytest.mark.postgres
async def test_an_async_connection_is_fine(server: str) -> None:
    import psycopg  # noqa: PLC0415 - no part of the unit suite

    url = new_database(server)
    agent = Agent(ScriptedModel(*["Yes."] * 9), name="clerk")
    async with Runtime(store=url, agents=[agent]) as runtime, Client(url) as client:
        chat = await runtime.open(agent, conversation_id=C)
        await chat.ask("hi")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as mine:
            async with mine.transaction(), mine.cursor() as cursor:
                await client.send(C, "one", tx=cursor)
            with pytest.raises(ConfigurationError, match="autocommit mode"):
                await client.send(C, "two", tx=mine)
        await until(lambda: said(chat) == ["hi", "one"])
        await chat.shutdown()
