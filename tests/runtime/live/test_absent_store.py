"""A live agent whose store takes nothing for a while."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.core.errors import StoreUnavailableError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.messages import Message
from sidetask.stores.base import Record, StateEntry
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, running_runtime
from tests.runtime.harness import Held, assert_valid, settle

C = ConversationId("mine")


class Absent(MemoryStore):
    """Takes nothing while it is `away`."""

    durable = True
    away = False
    failed = False
    """A database that has failed takes nothing that is handed over until it was asked again."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        """Keys of the state, and kinds of records, in the order in which it took them."""

    def _check(self) -> None:
        self.failed = self.away
        if self.away:
            raise StoreUnavailableError("it is away", "wait")

    def _check_handed(self) -> None:
        if self.away or self.failed:
            self.failed = True
            raise StoreUnavailableError("it is away", "wait")

    def append(self, fact: Event) -> None:
        self._check_handed()
        super().append(fact)

    def put(self, record: Record[Any]) -> None:
        self._check_handed()
        super().put(record)
        self.written.append(record.kind.name)

    async def stored(self) -> None:
        self._check()

    def save_state(
        self,
        conversation_id: ConversationId,
        entries: Sequence[StateEntry],
        *,
        user: str | None = None,
    ) -> None:
        self._check_handed()
        super().save_state(conversation_id, entries, user=user)
        self.written += [entry.key for entry in entries]

    async def commit_turn(
        self,
        conversation_id: ConversationId,
        messages: Sequence[Message],
        *,
        ack: Sequence[TaskId] = (),
        **closing: Any,
    ) -> None:
        self._check()
        await super().commit_turn(conversation_id, messages, ack=ack, **closing)


@pytest.fixture
async def store() -> Absent:
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    return Absent()


def agent(*script: Any, tools: Sequence[Held] = ()) -> Agent:
    return Agent(ScriptedModel(*script), name="clerk", tools=[each.tool for each in tools])


async def check(store: Absent, runtime: Runtime) -> None:
    [chat] = runtime.live_agents
    kept = await store.history(C)
    assert list(kept) == list(chat.history())
    assert_valid(kept)
    facts = await store.facts(C)
    runs = [fact.run_id for fact in facts if fact.kind == "run_started"]
    ends = [fact.run_id for fact in facts if fact.kind.startswith("run_") and fact.terminal]
    assert runs == ends


@pytest.mark.parametrize("seconds", [1, 1_000])
async def test_results_wait_for_it_and_cost_no_turn_that_nobody_asked_for(
    store: Absent, seconds: float
) -> None:
    held = [Held(name, route=background()) for name in ("one", "two")]
    clerk = agent((call("one"), call("two")), "Begun.", "Both.", "More.", tools=held)
    async with (
        running_runtime(store=store, max_auto_turns=2) as runtime,
        runtime.open(clerk, conversation_id=C) as chat,
    ):
        await chat.ask("Begin.")
        store.away = True
        for each in held:
            each.let_go.set()
            await asyncio.sleep(seconds)
        assert len(chat.history()) == 4
        store.away = False
        await asyncio.sleep(1)
        assert len(chat.history()) == 6, "both were told in one turn"
        await check(store, runtime)


@pytest.mark.parametrize("key", ["n", "user:n", "app:n"])
async def test_no_end_of_a_task_is_kept_before_what_it_wrote_to_the_state(
    store: Absent, key: str
) -> None:
    @tool(route=background())
    async def count(ctx: RunContext[object]) -> str:
        """Count."""
        begun.set()
        await go.wait()
        ctx.state.set(key, 7)
        return "counted"

    begun, go = asyncio.Event(), asyncio.Event()
    clerk = Agent(ScriptedModel(call("count"), "Begun.", "I see."), name="clerk", tools=[count])
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(clerk, conversation_id=C, user="ana") as chat,
    ):
        await chat.ask("Begin.")
        await begun.wait()
        store.away = True
        go.set()
        await settle()
        store.away = False
        await asyncio.sleep(1)
        await chat.wait_for_idle()
        assert len(chat.history()) == 6
        assert store.written.index(key) < store.written.index("result")


async def test_what_was_written_to_the_state_is_kept_when_it_is_back(store: Absent) -> None:
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(agent("Hello."), conversation_id=C, user="ana") as chat,
    ):
        await chat.ask("hi")
        store.away = True
        for key in ("n", "user:n", "app:n"):
            chat.state.set(key, 7)
        await asyncio.sleep(100)
        store.away = False
        await store.stored()
        await asyncio.sleep(2)
        kept = await store.load_state(C, user="ana")
        assert {each.key: each.value for each in kept} == {"n": 7, "user:n": 7, "app:n": 7}


async def test_who_asks_gets_the_error_and_may_ask_again(store: Absent) -> None:
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(agent("Hello.", "Again."), conversation_id=C) as chat,
    ):
        await chat.ask("hi")
        store.away = True
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match="it is away; wait"):
                await chat.ask("Are you there?")
        store.away = False
        assert str(await chat.ask("Now?")) == "Again."
        await check(store, runtime)


async def test_what_was_sent_is_said_when_it_is_back(store: Absent) -> None:
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(agent("Hello.", "Yes.", "Both."), conversation_id=C) as chat,
    ):
        await chat.ask("hi")
        store.away = True
        await chat.send("one")
        await settle()
        await chat.send("two")
        await asyncio.sleep(10)
        store.away = False
        await chat.wait_for_idle()
        texts = [getattr(each, "text", "") for each in chat.history()]
        assert [text for text in texts if text in ("one", "two")] == ["one", "two"]
        await check(store, runtime)


async def test_an_answer_that_it_did_not_take_is_written_with_what_follows(store: Absent) -> None:
    held = Held()
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(agent(call("held"), "Again.", tools=[held]), conversation_id=C) as chat,
    ):
        asked = asyncio.ensure_future(chat.ask("Begin."))
        await held.begun.wait()
        store.away = True
        held.let_go.set()
        with pytest.raises(StoreUnavailableError):
            await asked
        assert len(await store.history(C)) == len(chat.history()) - 1
        store.away = False
        assert str(await chat.ask("And?")) == "Again."
        await check(store, runtime)


async def test_an_answer_that_it_did_not_take_is_written_when_the_agent_is_let_go(
    store: Absent,
) -> None:
    held = Held()
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(agent(call("held"), tools=[held]), conversation_id=C) as chat,
    ):
        asked = asyncio.ensure_future(chat.ask("Begin."))
        await held.begun.wait()
        store.away = True
        held.let_go.set()
        with pytest.raises(StoreUnavailableError):
            await asked
        store.away = False
        await chat.disconnect()
    assert_valid(await store.history(C))


@pytest.mark.parametrize("stop", ["interrupt", "cancel"])
async def test_a_stop_does_not_wait_for_it(store: Absent, stop: str) -> None:
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(agent("Hello.", "Yes?"), conversation_id=C) as chat,
    ):
        await chat.ask("Begin.")
        store.away = True
        await chat.send("Are you there?")
        await asyncio.sleep(10)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(50):
            await (chat.interrupt() if stop == "interrupt" else chat.cancel())
        assert asyncio.get_running_loop().time() == pytest.approx(began, abs=0.5)
        store.away = False
        await asyncio.sleep(10)
        said = [getattr(each, "text", "") for each in chat.history()]
        assert said == ["Begin.", "Hello.", "Are you there?", "Yes?"]
        await check(store, runtime)
