"""A store that takes no more events: nothing hangs on it, and no permit is lost."""

import asyncio

import pytest

from sidetask.core.events import Event, EventKind
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import TurnSettled
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, C


class FullStore(MemoryStore):
    """Refuses events of one kind."""

    refused: EventKind | None = None

    def append(self, fact: Event) -> None:
        if fact.kind is self.refused:
            raise OSError("no space left on device")
        super().append(fact)


@pytest.fixture
async def full(clock: VirtualClock) -> Bench:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    return Bench(clock, store=FullStore(), limits=Limits(conversation=1))


def refuse(bench: Bench, kind: EventKind | None) -> None:
    assert isinstance(bench.store, FullStore)
    bench.store.refused = kind


async def test_a_launch_that_cannot_be_stored_did_not_happen(full: Bench) -> None:
    refuse(full, EventKind.TASK_QUEUED)
    with pytest.raises(OSError, match="no space"):
        full.start("quick")
    assert (full.handle.list(), full.events) == ([], [])
    assert await full.news() == TurnSettled()
    await full.idle()
    refuse(full, None)
    full.start("quick")
    assert (await full.answer()).status == "succeeded"
    await full.assert_no_leaks()


async def test_a_start_that_cannot_be_stored_is_an_error_of_its_call(full: Bench) -> None:
    refuse(full, EventKind.TASK_STARTED)
    full.start("quick")
    answer = await full.answer()
    assert (answer.status, "no space" in answer.content) == ("failed", True)
    await full.idle()
    await full.assert_no_leaks()


async def test_an_end_that_cannot_be_stored_still_answers_wakes_and_frees(full: Bench) -> None:
    refuse(full, EventKind.TASK_SUCCEEDED)
    task = full.start_in_background("sleep", {"seconds": 1})
    assert (await full.ended(task)).status == "succeeded"
    await full.idle()
    assert [item.task_id for item in full.pending()] == [task]
    full.manager.ack(C, [task])
    full.start("fail")  # it gets the only permit
    assert (await full.answer()).status == "failed"
    await full.assert_no_leaks()


async def test_a_closing_manager_waits_for_no_store(full: Bench) -> None:
    full.start()
    await asyncio.sleep(1)
    refuse(full, EventKind.TASK_CANCELLED)
    async with asyncio.timeout(10):
        await full.handle.close()
