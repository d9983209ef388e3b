"""`runtime.events`: what the store tells, and then what happens, each once and in order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from sidetask import Agent, tool
from sidetask.core.events import ContextBuilt, Event, Lagged
from sidetask.core.ids import ConversationId
from sidetask.runtime.invocation import EmitRequest
from sidetask.runtime.listening import PAGE
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.outbox import CONVERSATION
from sidetask.tasks.aio.streams import BOUND
from sidetask.testing import ScriptedModel, call, flood
from tests.runtime.harness import beside
from tests.runtime.invocation.harness import staged


@tool
async def quick() -> str:
    """Be quick."""
    await asyncio.sleep(0.01)
    return "done"


async def facts_to(tail: AsyncIterator[Event | Lagged], last: int) -> list[int]:
    """The numbers of the facts up to `last`."""
    found: list[int] = []
    async for event in tail:
        assert isinstance(event, Event)
        if not event.live:
            found.append(event.seq)
            if event.seq == last:
                break
    return found


async def test_a_replay_from_the_tenth_fact_goes_on_live_under_load_each_once() -> None:
    async with staged() as stage:
        agent = Agent(ScriptedModel(*[[call("quick")] * 4, flood(50)] * 8), tools=[quick])
        request = EmitRequest(agent=agent, input="go", conversation_id="c")
        runs = [stage.runtime.emit(request) for _ in range(8)]
        await runs[0]
        assert len(stage.events) > 10
        tails = [await beside(facts_to(stage.runtime.events("c", after=10), 150)) for _ in range(3)]
        for run in runs:
            await run
        for tail in tails:
            assert await tail == list(range(11, 151))


class Database(MemoryStore):
    """Answers in pages, and takes its time."""

    durable = True

    def __init__(self) -> None:
        super().__init__(facts=100_000)
        self.asked = 0

    async def facts(
        self, conversation_id: ConversationId, *, after: int = 0, limit: int | None = None
    ) -> list[Event]:
        self.asked += 1
        found = list(await super().facts(conversation_id, after=after, limit=limit))
        await asyncio.sleep(1)
        return found


def fact(seq: int) -> ContextBuilt:
    return ContextBuilt(seq=seq, at=0.0, conversation_id=ConversationId("c"), step=1, messages=seq)


async def test_a_database_is_asked_page_by_page() -> None:
    store = Database()
    for seq in range(1, 2 * PAGE + 11):
        store.append(fact(seq))
    async with staged(store=store) as stage:
        tail = stage.runtime.events("c", after=5, follow=False)
        assert await facts_to(tail, 2 * PAGE + 10) == list(range(6, 2 * PAGE + 11))
        assert store.asked == 3
        assert [event async for event in tail] == []


async def test_what_live_events_lose_while_the_database_answers_is_replayed() -> None:
    store = Database()
    async with staged(store=store) as stage:
        agent = Agent(ScriptedModel(flood(5 * BOUND), "ok"))
        async with stage.runtime.open(agent, conversation_id="c") as chat:
            reading = await beside(facts_to(stage.runtime.events("c", after=0), 14))
            await chat.ask("go")  # while the first question is open, and much more than is kept
            await chat.ask("go")
            assert await reading == list(range(1, 15))


async def test_facts_that_a_slow_reader_lost_are_asked_page_by_page() -> None:
    store = Database()
    async with staged(store=store) as stage:
        journal = cast(Any, stage.runtime)._outbox.journal("c")
        tail = stage.runtime.events("c", after=0)
        journal.fact(CONVERSATION, ContextBuilt, step=1, messages=1)
        assert await facts_to(tail, 1) == [1]
        for _ in range(2 * PAGE + 2 * BOUND):
            journal.fact(CONVERSATION, ContextBuilt, step=1, messages=1)
        lagged = await anext(tail)
        assert isinstance(lagged, Lagged)
        assert lagged.missed >= 2 * PAGE
        asked = store.asked
        assert await facts_to(tail, journal.seq) == list(range(2, journal.seq + 1))
        assert store.asked - asked == 1 + lagged.missed // PAGE


async def test_a_tail_that_is_closed_while_the_database_answers_tells_nothing_more() -> None:
    async with staged(store=Database()) as stage:
        journal = cast(Any, stage.runtime)._outbox.journal("c")
        journal.fact(CONVERSATION, ContextBuilt, step=1, messages=1)
        tail = stage.runtime.events("c", after=0)
        replaying = await beside(facts_to(tail, 1))
        tail.close()
        assert await replaying == []
        tail = stage.runtime.events("c", after=0)
        assert await facts_to(tail, 1) == [1]
        for _ in range(3 * BOUND):
            journal.fact(CONVERSATION, ContextBuilt, step=1, messages=1)
        assert isinstance(await anext(tail), Lagged)
        filling = await beside(facts_to(tail, 5))
        tail.close()
        assert await filling == []


async def test_a_conversation_can_be_listened_to_before_it_is_open() -> None:
    async with staged() as stage:
        reading = await beside(facts_to(stage.runtime.events("c"), 7))
        run = stage.emit("Hello.", conversation_id="c")
        await run
        assert await reading == list(range(1, 8))
