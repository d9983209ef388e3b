"""A conversation with background work whose database is away for a while, and comes back."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sidetask import Agent, AgentHandle, RunContext, Runtime, TaskPolicy, background, tool
from sidetask.agents.tools.tool import AnyTool
from sidetask.client import Client
from sidetask.core.errors import StoreUnavailableError
from sidetask.core.events import Event, TaskEnded
from sidetask.core.ids import ConversationId
from sidetask.core.messages import Message, NotificationMessage, ToolMessage
from sidetask.stores.opening import open_store
from sidetask.tasks.stored import RESULTS, TASKS
from sidetask.testing import ScriptedModel, call
from tests.durable.limits import HANG
from tests.durable.waiting import until
from tests.durable.wire import Wire, wire_to
from tests.runtime.harness import assert_valid
from tests.stores.conftest import new_database

pytestmark = [pytest.mark.durable, pytest.mark.postgres, pytest.mark.slow]

AWAY = float(os.environ.get("SIDETASK_CUT", "1.5"))
"""Seconds without a database."""
C = ConversationId("mine")


@dataclass
class Work:
    """Tools that the test lets go."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    steps: list[str] = field(default_factory=list[str])

    async def step(self, word: str) -> str:
        self.steps.append(word)
        return word


@pytest.fixture
async def wire(server: str) -> AsyncGenerator[Wire]:
    async with wire_to(new_database(server)) as wire:
        yield wire


def tools(work: Work) -> tuple[AnyTool, ...]:
    @tool(route=background())
    async def pay(number: int) -> str:
        """Pay a bill, which must not happen twice."""
        await work.free.wait()
        return f"paid {number}"

    @tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
    async def report(ctx: RunContext[None]) -> str:
        """Write a report in steps."""
        await ctx.step("first", work.step, "first")
        await work.free.wait()
        await ctx.step("second", work.step, "second")
        return "reported"

    @tool
    async def look() -> str:
        """Look for as long as it takes."""
        work.steps.append("looks")
        await work.free.wait()
        return "seen"

    return pay, report, look


async def at_rest(runtime: Runtime) -> None:
    """Wait until all is written: of a commit that is cut nobody can say what became of it, and who
    asks then waits for the database."""
    await cast(Any, runtime)._store.stored()


def told(messages: Sequence[Message]) -> list[str]:
    """What the model was told of late results."""
    return sorted(
        item.content
        for message in messages
        if isinstance(message, NotificationMessage)
        for item in message.items
    )


async def check_kept(server: str, chat: AgentHandle, facts: list[Event]) -> None:
    """What the database has, asked of the server itself, is what this process has seen."""
    store = open_store(server)
    kept = await store.history(C)
    assert list(kept) == list(chat.history())
    assert_valid(kept)
    assert [row.id for row in await store.find(RESULTS, conversation_id=C, open=True)] == []
    assert [row.id for row in await store.find(TASKS, conversation_id=C, open=True)] == []
    stored = await store.facts(C)
    assert [fact.seq for fact in stored] == list(range(1, len(stored) + 1))
    seen = [fact for fact in facts if not fact.live]
    assert [fact.seq for fact in seen] == list(range(1, len(seen) + 1))
    assert seen == list(stored[: len(seen)])
    ends = [fact.task_id for fact in stored if isinstance(fact, TaskEnded)]
    assert len(ends) == len(set(ends))
    await store.close()


async def test_a_cut_in_the_middle_of_a_conversation_loses_nothing_and_tells_nothing_twice(
    wire: Wire, server: str
) -> None:
    work = Work()
    calls = (*[call("pay", number=number) for number in (1, 2)], call("report"))
    script = calls, "Begun.", *[f"Reply {number}." for number in range(20)]
    agent = Agent(ScriptedModel(*script), name="clerk", tools=tools(work))
    async with Runtime(store=wire.url, agents=[agent]) as runtime:
        chat = await runtime.open(agent, conversation_id=C)
        seen: list[Event] = []
        reading = asyncio.create_task(read(chat, seen))
        await chat.ask("Begin.")
        await until(lambda: work.steps == ["first"])
        async with Client(server) as client:
            await at_rest(runtime)
            await wire.cut()
            with pytest.raises(StoreUnavailableError, match=r"Postgres: .*can be reached"):
                await chat.ask("Are you there?")
            work.free.set()  # all three end while nobody can write it down
            await client.send(C, "From outside.", by="ana")
            await asyncio.sleep(AWAY)
            with pytest.raises(StoreUnavailableError):
                await chat.ask("And now?")
            await wire.mend()
            await until(lambda: len(told(chat.history())) == 3)
            await until(lambda: "From outside." in said(chat))
            await chat.wait_for_idle(timeout=HANG)
        assert told(chat.history()) == ["paid 1", "paid 2", "reported"]
        assert work.steps == ["first", "second"]
        assert str(await chat.ask("Are you there now?")).startswith("Reply")
        assert "Are you there?" not in said(chat), "it was refused, and is not said later"
        await until(lambda: seen and seen[-1].kind == "run_completed")
        await check_kept(server, chat, seen)
        reading.cancel()


async def read(chat: AgentHandle, seen: list[Event]) -> None:
    async for event in chat.events(after=0):
        assert isinstance(event, Event)
        seen.append(event)


def said(chat: AgentHandle) -> list[str]:
    return [getattr(message, "text", "") for message in chat.history()]


async def test_answers_that_could_not_be_written_are_written_before_what_follows(
    wire: Wire, server: str
) -> None:
    """A call ran to its end while the database was away: the kept history has no hole."""
    work = Work()
    agent = Agent(
        ScriptedModel(call("look"), "Never said.", "Here again."), name="clerk", tools=tools(work)
    )
    async with Runtime(store=wire.url, agents=[agent]) as runtime:
        chat = await runtime.open(agent, conversation_id=C)
        asked = asyncio.ensure_future(chat.ask("Look."))
        await until(lambda: work.steps == ["looks"])  # nothing more is written before it has ended
        await at_rest(runtime)
        await wire.cut()
        work.free.set()
        with pytest.raises(StoreUnavailableError):
            await asked
        await wire.mend()
        assert str(await chat.ask("Again?")) in ("Never said.", "Here again.")
        assert sum(isinstance(each, ToolMessage) for each in chat.history()) == 1
        await check_kept(server, chat, [])


async def test_a_server_that_is_silent_for_a_while_only_takes_longer(
    wire: Wire, server: str
) -> None:
    work = Work()
    agent = Agent(
        ScriptedModel(call("pay", number=1), *["Yes."] * 9), name="clerk", tools=tools(work)
    )
    async with Runtime(store=wire.url, agents=[agent]) as runtime:
        chat = await runtime.open(agent, conversation_id=C)
        await chat.ask("Begin.")
        wire.freeze()
        work.free.set()
        asked = asyncio.ensure_future(chat.ask("Are you there?"))
        await asyncio.sleep(AWAY / 3)
        assert not asked.done()
        await wire.mend()
        assert str(await asked) == "Yes."
        await chat.wait_for_idle(timeout=HANG)
        assert told(chat.history()) == ["paid 1"]
        await check_kept(server, chat, [])
