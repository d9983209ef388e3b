"""Nothing is told before it is on the disk, where there is one."""

import asyncio
from typing import Any

import pytest

from sidetask import Agent, TaskPolicy, tool
from sidetask.core.errors import StoreUnavailableError
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, call, running_runtime
from tests.runtime.harness import beside, settle


class Slow(MemoryStore):
    """A store that outlives its process, and takes its time."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.safe = asyncio.Event()
        self.away = 0
        """How often it says that it is away."""

    async def stored(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("the disk", "it is away")
        await self.safe.wait()


@pytest.fixture
async def store() -> Slow:
    return Slow()


async def test_an_answer_is_given_when_the_end_of_its_turn_is_safe(store: Slow) -> None:
    async with running_runtime(store=store) as runtime:
        opening = await beside(opened(runtime))
        store.safe.set()
        chat = await opening
        store.safe.clear()
        asking = await beside(chat.ask("hi"))
        assert not asking.done()
        store.safe.set()
        assert str(await asking) == "Hello."
        await chat.shutdown()


async def test_a_reader_sees_what_is_safe_in_order_and_all_of_it(store: Slow) -> None:
    store.safe.set()
    async with running_runtime(store=store) as runtime:
        chat = await opened(runtime)
        seen: list[str] = []
        reading = await beside(read(chat.events(), seen))
        store.safe.clear()
        asking = await beside(chat.ask("hi"))
        assert seen == []
        store.away = 2
        store.safe.set()
        await asking
        await settle()
        await asyncio.sleep(1)
        assert seen[0] == "run_started"
        assert seen[-1] == "run_completed"
        assert "text_delta" in seen
        await chat.shutdown()
        await reading


async def test_what_waits_is_told_when_the_conversation_ends(store: Slow) -> None:
    store.safe.set()
    async with running_runtime(store=store) as runtime:
        chat = await opened(runtime)
        seen: list[str] = []
        reading = await beside(read(chat.events(), seen))
        asking = await beside(chat.ask("hi"))
        await asking
        await chat.shutdown()
        await reading
    assert seen[-1] == "run_completed"


async def opened(runtime: Any) -> Any:
    return await runtime.open(Agent(ScriptedModel("Hello.")))


async def read(events: Any, seen: list[str]) -> None:
    async for event in events:
        seen.append(str(event.kind))


async def test_whoever_reads_a_turn_sees_its_end_when_it_is_safe(store: Slow) -> None:
    store.safe.set()
    async with running_runtime(store=store) as runtime:
        chat = await opened(runtime)
        store.safe.clear()
        response = await chat.chat("hi")
        seen: list[str] = []
        reading = await beside(read(response, seen))
        assert "text_delta" in seen
        assert "run_completed" not in seen
        store.safe.set()
        await reading
        assert seen[-1] == "run_completed"
        await chat.shutdown()


async def test_the_calls_of_a_step_begin_together_however_slow_the_store_is(store: Slow) -> None:
    begun: list[str] = []

    @tool(policy=TaskPolicy(idempotent=True, on_crash="retry"))
    async def look(place: str) -> str:
        """Look somewhere."""
        begun.append(place)
        return "nothing"

    model = ScriptedModel([call("look", place=place) for place in "abc"], "Nothing anywhere.")
    store.safe.set()
    async with (
        running_runtime(store=store) as runtime,
        runtime.open(Agent(model, tools=[look])) as chat,
    ):
        store.safe.clear()
        asking = await beside(chat.ask("Look everywhere."))
        assert begun == ["a", "b", "c"]
        assert len(model.requests) == 1, "what is told of them is safe first"
        store.safe.set()
        assert str(await asking) == "Nothing anywhere."


async def test_a_database_that_stays_away_keeps_nothing_alive(store: Slow) -> None:
    store.safe.set()
    async with running_runtime(store=store) as runtime:
        chat = await opened(runtime)
        reading = await beside(read(chat.events(), []))
        store.away = 1_000_000
        with pytest.raises(StoreUnavailableError):
            await chat.ask("hi")
        await asyncio.sleep(1)
        assert telling()
        await chat.shutdown()
        await reading
    await asyncio.sleep(1)
    assert not telling()


def telling() -> list[str]:
    """The asyncio tasks that wait for the disk."""
    return [task.get_name() for task in asyncio.all_tasks() if "telling" in task.get_name()]
