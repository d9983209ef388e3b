"""What waits in a store when the program that takes it up is another one, or a row is damaged."""

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from sidetask import Agent, AgentHandle, Runtime, background, tool
from sidetask.agents.tools.tool import AnyTool
from sidetask.client import Client
from sidetask.core.errors import StoreCorruptError
from sidetask.core.messages import NotificationMessage
from sidetask.testing import ScriptedModel, call, running_runtime

pytestmark = pytest.mark.slow

ran: list[str] = []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ran.clear()
    return tmp_path / "test.db"


@tool(route=background(), approval="ask")
async def pay(amount: int) -> str:
    """Pay a bill."""
    ran.append(f"paid {amount}")
    return f"paid {amount}"


def agent(*script: object, tools: Sequence[AnyTool] = ()) -> Agent:
    return Agent(ScriptedModel(*script), name="clerk", tools=tools)  # type: ignore[arg-type]


@asynccontextmanager
async def runtime_on(path: Path, clerk: Agent) -> AsyncGenerator[Runtime]:
    store = f"sqlite:///{path}"
    async with running_runtime(store=store, agents=[clerk], on_approval="host") as runtime:
        yield runtime
        for chat in runtime.live_agents:
            await chat.disconnect()


async def ask_to_pay(path: Path) -> None:
    """A life that ends while a person is asked."""
    clerk = agent(call("pay", amount=5), "Asked.", tools=[pay])
    async with runtime_on(path, clerk) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        await chat.ask("Pay.")
        assert len(chat.approvals) == 1


async def approved(chat: AgentHandle) -> list[str]:
    """Say yes, and return what the model is told."""
    [asked] = chat.approvals
    chat.approvals.approve(asked.id, by="ana")
    await chat.tasks.wait(asked.task_id)
    await chat.wait_for_idle()
    assert len(chat.approvals) == 0
    return [
        f"{item.status}: {item.content}"
        for message in chat.history()
        if isinstance(message, NotificationMessage)
        for item in message.items
    ]


async def test_a_yes_to_a_tool_that_is_gone_is_an_error_that_the_model_is_told(path: Path) -> None:
    await ask_to_pay(path)
    async with runtime_on(path, agent("I see.", "Oh.")) as runtime, runtime.resume("mine") as chat:
        [told] = await approved(chat)
    assert told.startswith("failed: ")
    assert "'pay'" in told


async def test_a_yes_to_a_call_that_fits_no_longer_runs_nothing_and_is_told(path: Path) -> None:
    await ask_to_pay(path)

    @tool(route=background(), approval="ask", name="pay")
    async def changed(amount: int, currency: str) -> str:
        """Pay a bill, in some currency."""
        ran.append("changed")
        return "changed"

    async with (
        runtime_on(path, agent("I see.", tools=[changed])) as runtime,
        runtime.resume("mine") as chat,
    ):
        [told] = await approved(chat)
    assert told.startswith("failed: ")
    assert "currency" in told
    assert ran == []


async def test_a_yes_to_a_call_that_still_fits_runs_it(path: Path) -> None:
    await ask_to_pay(path)

    @tool(route=background(), approval="ask", name="pay")
    async def changed(amount: int, currency: str = "EUR") -> str:
        """Pay a bill, in some currency."""
        return f"{amount} {currency}"

    async with (
        runtime_on(path, agent("I see.", tools=[changed])) as runtime,
        runtime.resume("mine") as chat,
    ):
        assert await approved(chat) == ["succeeded: 5 EUR"]


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("messages SET data = '{' WHERE position = 0", "message 0 of mine"),
        ("records SET data = '[' WHERE kind = 'task'", "task .* of mine"),
        ("records SET data = '{}' WHERE kind = 'approval'", "approval .* of mine"),
        ("state SET data = '{\"v\": 99}'", "state 'key'"),
    ],
)
async def test_a_damaged_row_is_named_and_other_conversations_go_on(
    path: Path, damage: str, where: str
) -> None:
    clerk = agent(call("pay", amount=5), "Asked.", "Hello.", "Hello again.", tools=[pay])
    async with runtime_on(path, clerk) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        chat.state.set("key", 1)
        await chat.ask("Pay.")
    with closing(sqlite3.connect(path)) as spoiling, spoiling:
        spoiling.execute(f"UPDATE sidetask_{damage}")
    spoiling.close()
    async with runtime_on(path, clerk) as runtime:
        for _ in range(2):
            with pytest.raises(StoreCorruptError, match=f"{where} cannot be read: .*delete it"):
                await runtime.resume("mine")
        other = await runtime.open("clerk", conversation_id="other")
        assert str(await other.ask("Hi.")) == "Hello."
        async with Client(f"sqlite:///{path}") as client:
            assert {each.id for each in await client.conversations()} == {"mine", "other"}
        assert str(await other.ask("Hi.")) == "Hello again."
