"""What a store forgets by itself while a runtime is open."""

import asyncio
from pathlib import Path

import pytest

from sidetask import Agent, Runtime
from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import ConversationId
from sidetask.stores.memory import MemoryStore
from sidetask.testing import ScriptedModel, running_runtime

C = ConversationId("mine")
DAY = 86_400


class Lasting(MemoryStore):
    """Its rows outlive a process, as far as a runtime knows."""

    durable = True


async def left_after(days: float, store: MemoryStore, **settings: float | None) -> tuple[int, int]:
    """How many facts and messages are left of a turn when the program has run for so long."""
    agent = Agent(ScriptedModel("Hello."), name="talker")
    async with (
        running_runtime(store=store, **settings) as runtime,
        runtime.open(agent, conversation_id=C) as chat,
    ):
        await chat.ask("hi")
        await asyncio.sleep(days * DAY)
        return len(await store.facts(C)), len(await store.history(C))


async def test_events_go_after_a_month_and_the_conversation_stays() -> None:
    facts, _ = await left_after(0, Lasting())
    assert await left_after(29, Lasting()) == (facts, 2)
    assert await left_after(32, Lasting()) == (1, 2)


async def test_how_long_is_the_hosts_choice() -> None:
    facts, _ = await left_after(0, Lasting())
    assert await left_after(3, Lasting(), retention=DAY) == (1, 2)
    assert await left_after(1_000, Lasting(), retention=None) == (facts, 2)


async def test_memory_bounds_itself_and_nobody_looks() -> None:
    facts, _ = await left_after(0, MemoryStore())
    assert await left_after(100, MemoryStore()) == (facts, 2)


def test_what_is_no_length_of_time_is_refused(tmp_path: Path) -> None:
    for seconds in (0, -1):
        with pytest.raises(ConfigurationError, match="retention is seconds > 0"):
            Runtime(store=f"sqlite:///{tmp_path / 'x.db'}", retention=seconds)
