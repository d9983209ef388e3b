"""How many run at once, and who queues for whom."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from sidetask.core.errors import ConfigurationError, TooManyTasksError
from sidetask.core.events import TaskStarted
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy, detach_after
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import Completed, Detached, ToolOutcome, TurnSettled
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, C, settle


def statuses(bench: Bench) -> dict[str, int]:
    return Counter(str(task.status) for task in bench.handle.list_running())


# -- the default caps --------------------------------------------------------------------------


async def test_a_model_that_asks_for_800_calls_in_one_step_starts_16(bench: Bench) -> None:
    for _ in range(800):
        bench.start("sleep", {"seconds": 1})
    await settle()
    assert statuses(bench) == {"running": 16, "queued": 784}
    answers = [await bench.answer() for _ in range(800)]
    assert {str(answer.status) for answer in answers} == {"succeeded"}
    assert len({answer.task_id for answer in answers}) == 800
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_conversation_runs_64_tasks_at_once(bench: Bench) -> None:
    for _ in range(100):
        bench.start_in_background()
    for _ in range(10):
        bench.start_in_background(conversation="other")
    await settle()
    assert statuses(bench) == {"running": 74, "queued": 36}


async def test_the_total_cap_counts_all_conversations(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(total=3))
    for conversation in ("c", "d", "e", "f"):
        bench.start_in_background("sleep", {"seconds": 1}, conversation=conversation)
    await settle()
    assert statuses(bench) == {"running": 3, "queued": 1}
    await bench.idle()
    assert round(clock.time()) == 2


async def test_a_tools_cap_holds_for_the_whole_manager(bench: Bench) -> None:
    capped = TaskPolicy(cap=2)
    for conversation in ("c", "d", "e"):
        bench.start_in_background(conversation=conversation, policy=capped)
    bench.start_in_background("quick")
    await settle()
    assert statuses(bench) == {"running": 2, "queued": 1}


async def test_tasks_start_in_the_order_of_their_launch(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    tasks = [bench.start_in_background("sleep", {"seconds": 1}) for _ in range(5)]
    await bench.idle()
    started = [event.task_id for event in bench.events if isinstance(event, TaskStarted)]
    assert started == tasks


async def test_a_full_queue_refuses_and_starts_nothing(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(conversation=1, queued=2))
    for _ in range(3):
        bench.start_in_background()
    before = bench.handle.list()
    with pytest.raises(TooManyTasksError, match="the limit is 2"):
        bench.start_in_background()
    with pytest.raises(TooManyTasksError):
        bench.start()
    assert bench.handle.list() == before
    assert await bench.news() == TurnSettled()


@pytest.mark.parametrize("name", ["step", "conversation", "total", "queued", "undelivered"])
def test_a_cap_below_one_is_refused(name: str) -> None:
    limits: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigurationError, match=f"{name} is at least 1, not 0"):
        Limits(**limits)


# -- nesting -----------------------------------------------------------------------------------


async def test_cap_1_with_depth_3_cannot_deadlock(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(step=1, conversation=1, total=1))
    roots = [bench.start("nested", {"depth": 3}) for _ in range(2)]
    assert {(await bench.answer()).task_id for _ in roots} == set(roots)
    assert len(bench.handle.list()) == 8
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_a_child_in_its_parents_turn_does_not_queue_behind_it(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(step=1, conversation=1, total=1))
    parent = bench.start("sleep", {"seconds": 5})
    await settle()
    child = bench.start("quick", parent=parent)
    assert (await bench.answer()).task_id == child


async def test_children_never_queue_for_a_tools_cap(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        children = [ctx.spawn("sleep", seconds=1) for _ in range(3)]
        return Completed([await child for child in children], "all")

    bench = Bench(clock, {"tool": tool}, limits=Limits(conversation=1))
    bench.start("tool")
    assert (await bench.answer()).value == ["slept"] * 3
    assert round(clock.time()) == 1


async def test_children_end_with_their_parent(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        ctx.spawn("sleep", seconds=50)
        await asyncio.sleep(1)
        return Completed("did not wait", "did not wait")

    bench = Bench(clock, {"tool": tool})
    parent = bench.start("tool")
    assert (await bench.answer()).status == "succeeded"
    await bench.idle()
    [child] = [task for task in bench.handle.list() if task.parent_id == parent]
    assert child.status is TaskStatus.CANCELLED
    assert bench.end_of(child.id).parent_id == parent
    assert bench.pending() == ()


# -- what counts -------------------------------------------------------------------------------


async def test_a_detached_task_leaves_its_step_but_counts_in_its_conversation(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, limits=Limits(step=1, conversation=2))
    for _ in range(3):
        bench.start(route=detach_after(5))
    await asyncio.sleep(6)
    assert statuses(bench) == {"running": 2, "queued": 1}
    assert isinstance(await bench.news(), Detached)


async def test_a_queued_task_may_be_detached_and_leaves_the_queue_of_its_step(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, limits=Limits(step=1))
    bench.start()
    queued = bench.start()
    await settle()
    assert bench.handle.detach(queued)
    await settle()
    assert bench.handle.get(queued).status is TaskStatus.RUNNING
    assert isinstance(await bench.news(), Detached)


async def test_abandoned_work_keeps_its_permit_until_it_really_stops(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    stuck = bench.start_in_background("stubborn", {"seconds": 100})
    await settle()
    await bench.handle.cancel(stuck, grace=5)
    waiting = bench.start_in_background("quick")
    await asyncio.sleep(50)
    assert bench.handle.get(waiting).status is TaskStatus.QUEUED
    await bench.ended(waiting)
    assert round(clock.time()) == 100
    assert [item.task_id for item in bench.pending()] == [stuck, waiting]
    bench.manager.ack(C, [stuck, waiting])
    await bench.assert_no_leaks()


async def test_cancelling_a_queued_task_frees_its_place_and_runs_none_of_it(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    running, queued, last = (bench.start_in_background() for _ in range(3))
    await settle()
    assert await bench.handle.cancel(queued) == "cancelled"
    assert bench.told(queued) == ["task_queued", "task_cancelled"]
    await bench.idle()
    assert {bench.handle.get(task).status for task in (running, last)} == {TaskStatus.SUCCEEDED}


async def test_an_exclusive_call_runs_alone_among_the_calls_of_its_turn(bench: Bench) -> None:
    exclusive = TaskPolicy(exclusive=True)
    bench.start("sleep", {"seconds": 1})
    alone = bench.start("sleep", {"seconds": 5}, policy=exclusive)
    after = bench.start("sleep", {"seconds": 1})
    other = bench.start("sleep", {"seconds": 1}, turn="other")
    await settle()
    assert bench.handle.get(alone).status is TaskStatus.QUEUED
    assert bench.handle.get(other).status is TaskStatus.RUNNING
    await asyncio.sleep(2)
    assert bench.handle.get(alone).status is TaskStatus.RUNNING
    assert bench.handle.get(after).status is TaskStatus.QUEUED
    assert [(await bench.answer()).task_id for _ in range(3)][1:] == [alone, after]


async def test_a_control_call_needs_no_permit(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(step=1, conversation=1, total=1))
    bench.start()
    control = bench.start("quick", policy=TaskPolicy(control=True, cap=1, exclusive=True))
    assert (await bench.answer()).task_id == control
