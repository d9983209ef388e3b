"""What a store forgets by itself while a runtime is open."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from sidetask import Agent, Runtime
from sidetask.core.errors import ConfigurationError, StoreUnavailableError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.engines.base import Capabilities
from sidetask.engines.memory import MemoryEngine
from sidetask.runtime.keeping.retention import Retention
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.stored import task_record
from sidetask.testing import ScriptedModel, running_runtime
from tests.client.rows import a_task

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
    assert await left_after(30, Lasting()) == (facts, 2)
    assert await left_after(30.01, Lasting()) == (1, 2)
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


NOW = 1_000_000.0


class Noting(Lasting):
    """Notes when it was told to forget, and what."""

    def __init__(self, *, fails: int = 0) -> None:
        super().__init__()
        self.told: list[tuple[float, bool, bool]] = []
        self.looks: list[float] = []
        self._fails = fails

    async def vacuum(
        self, older_than: float, *, conversations: bool = True, dry_run: bool = False
    ) -> Sequence[ConversationId]:
        self.looks.append(asyncio.get_running_loop().time())
        self.told.append((older_than, conversations, dry_run))
        if len(self.told) <= self._fails:
            raise StoreUnavailableError("it is away", "wait")
        return await super().vacuum(older_than, conversations=conversations, dry_run=dry_run)


class Keeping(MemoryEngine):
    """An engine with tables of its own."""

    def __init__(self, *, durable: bool) -> None:
        super().__init__()
        self.capabilities = Capabilities(durable=durable, distributed=False)
        self.told: list[tuple[float, Collection[TaskId]]] = []

    async def vacuum(self, older_than: float, living: Collection[TaskId]) -> None:
        self.told.append((older_than, living))


async def test_it_looks_after_ten_minutes_and_then_once_a_day_until_it_is_closed() -> None:
    store, begun = Noting(), asyncio.get_running_loop().time()
    retention = Retention(store, None, 5.0, lambda: NOW)
    retention.begin()
    retention.begin()
    await asyncio.sleep(3 * DAY + 601)
    assert [each - begun for each in store.looks] == [600 + n * DAY for n in range(4)]
    assert set(store.told) == {(NOW - 5.0, False, False)}
    await retention.close()
    await asyncio.sleep(2 * DAY)
    assert len(store.told) == 4
    await retention.close()


async def test_one_that_has_not_begun_closes() -> None:
    await Retention(Noting(), None, 5.0, lambda: NOW).close()


async def test_one_that_forgets_nothing_does_not_look(caplog: pytest.LogCaptureFixture) -> None:
    store = Noting()
    retention = Retention(store, None, None, lambda: NOW)
    retention.begin()
    await asyncio.sleep(3 * DAY)
    assert (store.told, caplog.records) == ([], [])
    await retention.close()


class Slow(Lasting):
    """Takes its time, and a moment more to stop."""

    has_stopped = False

    async def vacuum(
        self, older_than: float, *, conversations: bool = True, dry_run: bool = False
    ) -> Sequence[ConversationId]:
        try:
            await asyncio.sleep(DAY)
        finally:
            await asyncio.sleep(1)
            self.has_stopped = True
        return []


async def test_when_it_is_closed_nothing_is_being_forgotten_any_more() -> None:
    store = Slow()
    retention = Retention(store, None, 5.0, lambda: NOW)
    retention.begin()
    await asyncio.sleep(1_000)
    await retention.close()
    assert store.has_stopped


async def test_what_fails_today_is_tried_again_tomorrow(caplog: pytest.LogCaptureFixture) -> None:
    store = Noting(fails=1)
    retention = Retention(store, None, 5.0, lambda: NOW)
    with caplog.at_level(logging.WARNING):
        retention.begin()
        await asyncio.sleep(DAY + 601)
    assert len(store.told) == 2
    [said] = caplog.records
    assert said.exc_info
    assert "not forgotten today" in said.getMessage()
    await retention.close()


async def test_an_engine_forgets_too_but_nothing_of_tasks_that_live() -> None:
    store, engine = Noting(), Keeping(durable=True)
    living = [TaskId(f"task-{n}") for n in range(205)]
    for id in living:
        store.put(task_record(a_task(id=id)))
    store.put(task_record(a_task(TaskStatus.SUCCEEDED, id=TaskId("over"))))
    await Retention(store, engine, 5.0, lambda: NOW).forget(7.0)
    assert engine.told == [(7.0, set(living))]
    assert store.told == [(7.0, False, False)]


async def test_an_engine_without_tables_has_nothing_to_forget() -> None:
    store, engine = Noting(), Keeping(durable=False)
    await Retention(store, engine, 5.0, lambda: NOW).forget(7.0)
    assert engine.told == []
