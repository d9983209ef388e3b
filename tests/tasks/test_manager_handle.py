"""The host's side: looking, cancelling, detaching, waiting, closing; and what it is refused."""

import asyncio
from typing import Any

import pytest

from sidetask.core.errors import (
    ManagerClosedError,
    TaskFailedError,
    TaskNotFoundError,
    UnknownToolError,
)
from sidetask.core.events import TaskCancelled
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy, background, detach_after
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.parts.runner import Scope
from sidetask.tasks.values import (
    Completed,
    Detached,
    Idle,
    TaskLaunch,
    ToolOutcome,
    TurnSettled,
)
from sidetask.testing import VirtualClock
from tests.tasks.harness import LIMIT, Bench, C, settle

# -- looking -----------------------------------------------------------------------------------


async def test_a_snapshot_tells_all_about_a_task_and_does_not_change(
    bench: Bench, clock: VirtualClock
) -> None:
    begun = clock.now()
    task = bench.start("sleep", {"seconds": 5}, route=detach_after(1), call_id="call-1")
    fresh = bench.handle.get(task)
    assert (fresh.status, fresh.started_at, fresh.created_at) == ("queued", None, begun)
    await bench.idle()
    then = bench.handle.get(task)
    assert (then.id, then.name, then.arguments) == (task, "sleep", '{"seconds": 5}')
    assert (then.conversation_id, then.turn_id, then.call_ids) == ("c", "t", ("call-1",))
    assert (then.kind, then.detached, then.status) == ("background", True, "succeeded")
    assert (then.attempt, then.parent_id, then.error, then.progress) == (1, None, None, None)
    assert then.started_at is not None
    assert then.finished_at is not None
    assert round(then.finished_at - then.started_at) == 5
    assert (fresh.status, fresh.detached) == ("queued", False)


async def test_tasks_are_listed_by_creation(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(conversation=6))
    tasks = [bench.start_in_background("sleep", {"seconds": 20 - n}) for n in range(12)]
    bench.start_in_background("fail", conversation="other")
    await asyncio.sleep(16)
    assert [task.id for task in bench.handle.list(conversation_id=C)] == tasks
    assert [task.id for task in bench.handle.list(status="failed")] == ["task-13"]
    assert bench.handle.list(status=TaskStatus.FAILED, conversation_id=C) == []
    running, ended = bench.handle.list_running(C), bench.handle.list_completed(C)
    assert sorted([*running, *ended], key=lambda task: tasks.index(task.id)) == bench.handle.list(
        conversation_id=C
    )
    assert [task.id for task in running] == [t for t in tasks if t in {r.id for r in running}]


async def test_metadata_of_a_launch_is_kept(bench: Bench) -> None:
    launch = TaskLaunch(call=ToolCall.make("quick"), conversation_id=C, metadata={"ticket": 7})
    pending = bench.manager.start_nowait(launch)
    assert bench.handle.get(pending.task_id).metadata == {"ticket": 7}


async def test_unknown_ids_are_told_as_such(bench: Bench) -> None:
    with pytest.raises(TaskNotFoundError, match="no task 'task-9'"):
        await bench.handle.cancel("task-9")
    for ask in (bench.handle.get, bench.handle.task, bench.handle.detach):
        with pytest.raises(TaskNotFoundError):
            ask("task-9")
    with pytest.raises(TaskNotFoundError):
        await bench.handle.wait("task-9")


async def test_an_unknown_tool_is_refused_and_starts_nothing(bench: Bench) -> None:
    with pytest.raises(UnknownToolError, match=r"no tool 'nothing'; there are: quick"):
        bench.start("nothing")
    assert (bench.handle.list(), bench.events) == ([], [])
    assert await bench.news() == TurnSettled()


async def test_a_tool_that_went_away_before_its_turn_came_ends_as_an_error(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    bench.start("sleep", {"seconds": 1})
    bench.start("quick", call_id="call-2")
    bench.manager.open_conversation(C, Scope())
    answers = [await bench.answer(), await bench.answer()]
    assert {str(a.status) for a in answers if a.call_ids == ("call-2",)} == {"failed"}
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


# -- one task ----------------------------------------------------------------------------------


async def test_a_task_is_awaited_for_its_value(bench: Bench) -> None:
    task = bench.handle.task(bench.start("quick", {"value": [1, 2]}))
    assert await task == [1, 2]
    assert (task.status, task.progress, task.snapshot().id) == ("succeeded", None, task.id)
    assert (await task.wait()).value == [1, 2]
    assert (task.cancel(), task.detach()) == (False, False)


async def test_awaiting_a_task_that_fails_raises_how_it_ended(bench: Bench) -> None:
    failing, cancelled = bench.handle.task(bench.start("fail")), bench.handle.task(bench.start())
    with pytest.raises(TaskFailedError, match=r"task-1 failed: .*no luck"):
        await failing
    await settle()
    cancelled.cancel("enough")
    with pytest.raises(TaskFailedError, match="enough") as caught:
        await cancelled
    assert caught.value.status == "cancelled"


async def test_giving_up_a_wait_leaves_the_task_alone(bench: Bench) -> None:
    task = bench.start("sleep", {"seconds": 50})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await bench.handle.wait(task)
    assert (await bench.ended(task)).status == "succeeded"


async def test_a_foreground_task_without_a_turn_is_had_from_its_handle_only(bench: Bench) -> None:
    task = bench.start("quick", turn=None)
    assert (await bench.ended(task)).status == "succeeded"
    assert (bench.pending(), bench.handle.drain_ready_items()) == ((), [])
    await bench.assert_no_leaks()


# -- detach ------------------------------------------------------------------------------------


async def test_a_host_detaches_a_foreground_task_once(bench: Bench) -> None:
    task = bench.start()
    await settle()
    assert bench.handle.detach(task)
    assert not bench.handle.detach(task)
    assert isinstance(await bench.news(), Detached)
    assert await bench.news() == TurnSettled()
    snapshot = bench.handle.get(task)
    assert (snapshot.kind, snapshot.detached, snapshot.status) == ("background", True, "running")
    assert not bench.handle.detach(bench.start(route=background()))


# -- cancel ------------------------------------------------------------------------------------


async def test_cancel_reaches_token_and_code_in_the_same_tick_and_waits_for_the_clean_up(
    clock: VirtualClock,
) -> None:
    order: list[str] = []

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        ctx.cancelled.listen(lambda: order.append("token"))
        try:
            await asyncio.sleep(100)
        finally:
            order.append("code")
            await asyncio.sleep(2)
            order.append("cleaned up")
        return Completed(None, "")

    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool")
    await settle()
    assert await bench.handle.cancel(task) == "cancelled"
    assert order == ["token", "code", "cleaned up"]
    assert round(clock.time()) == 2


async def test_a_finished_task_is_not_touched_by_a_cancel(bench: Bench) -> None:
    task = bench.start("quick")
    await bench.ended(task)
    before = (bench.handle.get(task), len(bench.events))
    assert await bench.handle.cancel(task) == "already_finished"
    assert (bench.handle.get(task), len(bench.events)) == before


async def test_cancelling_twice_ends_once_and_the_shorter_grace_counts(
    bench: Bench, clock: VirtualClock
) -> None:
    task = bench.start("stubborn")
    await settle()
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        first = group.create_task(bench.handle.cancel(task, "one", grace=60))
        await settle()
        second = group.create_task(bench.handle.cancel(task, "two", grace=5))
    assert (first.result(), second.result(), round(clock.time())) == ("cancelled", "cancelled", 5)
    end = bench.end_of(task)
    assert isinstance(end, TaskCancelled)
    assert (end.reason, end.abandoned) == ("one", True)


async def test_a_cancel_before_the_first_step_runs_nothing_of_the_tool(bench: Bench) -> None:
    task = bench.start()
    assert bench.handle.task(task).cancel()
    assert (await bench.answer()).status == "cancelled"
    assert bench.told(task) == ["task_queued", "task_cancelled"]
    assert await bench.news() == TurnSettled()
    await bench.assert_no_leaks()


async def test_the_grace_of_a_cancel_defaults_to_that_of_the_policy(
    bench: Bench, clock: VirtualClock
) -> None:
    for policy in (TaskPolicy(), TaskPolicy(grace=2)):
        task = bench.start_in_background("stubborn", policy=policy)
        await settle()
        await bench.handle.cancel(task)
    assert round(clock.time()) == 7


async def test_a_tool_may_cancel_itself(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await bench.handle.cancel(ctx.task_id, "myself")
        return Completed("not reached", "not reached")

    bench = Bench(clock, {"tool": tool})
    bench.start("tool")
    assert (await bench.answer()).status == "cancelled"


# -- idle --------------------------------------------------------------------------------------


async def test_idle_means_that_no_task_is_queued_or_running(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    assert await bench.handle.wait_for_idle() == Idle(undelivered=0, approvals=0)
    for seconds in (3, 4):
        bench.start_in_background("sleep", {"seconds": seconds})
    bench.start_in_background("sleep", {"seconds": 50}, conversation="other")
    bench.start_in_background("asking")
    await bench.idle("c")
    assert round(clock.time()) == 7
    assert await bench.handle.wait_for_idle(C) == Idle(undelivered=2, approvals=1)
    assert await bench.handle.wait_for_idle() == Idle(undelivered=3, approvals=1)
    assert round(clock.time()) == 50


# -- close -------------------------------------------------------------------------------------


async def test_close_refuses_new_work_cancels_and_ends_every_stream(clock: VirtualClock) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    subscription = bench.handle.subscribe()
    waiting = {bench.start_in_background("gated"), bench.start_in_background("asking")}
    await settle()
    living = {bench.start(), bench.start(), *waiting}
    await settle()
    assert await bench.handle.close() == []
    assert {task.id for task in bench.handle.list(status="cancelled")} == living
    for task in living:
        assert isinstance(bench.end_of(task), TaskCancelled)
    async with asyncio.timeout(LIMIT):
        assert [event async for event in subscription] == bench.events
    assert "continue_requested" not in bench.kinds()
    assert [event.seq for event in bench.events] == list(range(1, len(bench.events) + 1))
    with pytest.raises(ManagerClosedError):
        bench.start()
    with pytest.raises(ManagerClosedError):
        await bench.manager.start_task(TaskLaunch(call=ToolCall.make("quick"), conversation_id=C))


@pytest.mark.parametrize("tool", ["gated", "asking"])
async def test_close_waits_for_tasks_that_wait_for_approval(bench: Bench, tool: str) -> None:
    task = bench.start(tool)
    await settle()
    assert await bench.handle.close() == []
    assert (bench.told(task)[-1], bench.handle.approvals()) == ("task_cancelled", [])


async def test_close_returns_what_did_not_stop_and_twice_is_fine(
    bench: Bench, clock: VirtualClock
) -> None:
    stuck = bench.start("stubborn")
    bench.start("sleep")
    await settle()
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        first = group.create_task(bench.handle.close(grace=3))
        second = group.create_task(bench.handle.close(grace=3))
    assert (first.result(), second.result()) == ([stuck], [stuck])
    assert round(clock.time()) == 3
    end = bench.end_of(stuck)
    assert isinstance(end, TaskCancelled)
    assert (end.reason, end.abandoned) == ("closing", True)
    await asyncio.sleep(200)
    assert await bench.handle.close() == []


async def test_close_gives_the_waiting_turn_its_answers(bench: Bench) -> None:
    bench.start(call_id="call-1")
    await settle()
    await bench.handle.close()
    assert ((await bench.answer()).call_ids, await bench.news()) == (("call-1",), TurnSettled())


async def test_a_stream_that_is_opened_after_close_ends_at_once(bench: Bench) -> None:
    await bench.handle.close()
    async with asyncio.timeout(LIMIT):
        assert [event async for event in bench.handle.subscribe()] == []
        assert await bench.handle.next_event() is None


async def test_a_work_that_is_launched_while_closing_is_refused(clock: VirtualClock) -> None:
    refused: list[str] = []

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        try:
            await asyncio.sleep(100)
        finally:
            try:
                bench.start("quick")
            except ManagerClosedError as error:
                refused.append(str(error))
        return Completed(None, "")

    bench = Bench(clock, {"tool": tool})
    bench.start("tool")
    await settle()
    await bench.handle.close()
    assert len(refused) == 1
