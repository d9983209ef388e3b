"""What is remembered of tasks that have ended: bounded, whatever happens."""

import asyncio

import pytest

from sidetask.core.errors import TaskNotFoundError
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import background
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import TurnSettled
from sidetask.testing import VirtualClock
from tests.tasks.harness import MANUAL, Bench, C


@pytest.mark.slow
async def test_ten_thousand_quick_tasks_leave_the_size_flat(bench: Bench) -> None:
    for _ in range(20):
        for _ in range(250):
            bench.start_in_background("quick", policy=MANUAL)
            bench.start("quick")
        while await bench.news() != TurnSettled():
            pass
        await bench.idle()
        assert len(bench.handle.drain_ready_items()) == 250
        bench.events.clear()
    assert len(bench.handle.list()) == 1_000
    assert [task.id for task in bench.handle.list()][-1] == "task-10000"
    assert len(await bench.store.facts(C)) == 1_000
    await bench.assert_no_leaks()


async def test_ended_tasks_are_remembered_for_a_while_only(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(finished_age=60))
    old = bench.start_in_background("quick")
    await asyncio.sleep(30)
    young = bench.start_in_background("quick")
    await asyncio.sleep(45)
    bench.start_in_background("quick")
    await bench.idle()
    with pytest.raises(TaskNotFoundError, match=old):
        bench.handle.get(old)
    assert bench.handle.get(young).status is TaskStatus.SUCCEEDED
    assert bench.pending()[0].task_id == old  # its result is not forgotten


async def test_a_living_task_is_never_forgotten(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(finished=1, finished_age=1))
    living = bench.start_in_background("sleep", {"seconds": 500})
    waiting = bench.start_in_background("gated")
    for _ in range(10):
        bench.start("quick", route=background())
    await asyncio.sleep(100)
    assert [task.id for task in bench.handle.list_running()] == [living, waiting]
    assert len(bench.handle.list_completed()) == 1
    assert len(bench.pending()) == 10
