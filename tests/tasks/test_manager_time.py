"""Timeouts, and what follows a task past the end of its turn."""

import asyncio
from contextvars import ContextVar
from typing import Any

from sidetask.core.events import TaskCancelled, TaskTimedOut
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.values import (
    Completed,
    ToolOutcome,
)
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, gated, settle

# -- 13: timeouts ------------------------------------------------------------------------------


async def test_a_timeout_ends_a_task_as_timed_out(bench: Bench) -> None:
    task = bench.start("sleep", {"seconds": 100}, policy=TaskPolicy(timeout=7))
    answer = await bench.answer()
    assert (answer.status, answer.is_error) == ("timed_out", True)
    end = bench.end_of(task)
    assert isinstance(end, TaskTimedOut)
    assert (end.timeout, round(end.duration), end.abandoned) == (7, 7, False)


async def test_waiting_for_a_permit_or_an_approval_does_not_count_as_time(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, limits=Limits(conversation=1))
    bench.start("sleep", {"seconds": 50})
    asked = bench.start("asking", {"seconds": 5}, policy=TaskPolicy(timeout=7))
    await asyncio.sleep(100)
    bench.handle.approve(bench.handle.approvals()[0].id, by="ana")
    assert (await bench.ended(asked)).status == "succeeded"


async def test_work_that_does_not_stop_within_its_grace_is_told_as_abandoned(
    bench: Bench, clock: VirtualClock
) -> None:
    policy = TaskPolicy(timeout=10, grace=3)
    timed = bench.start("stubborn", {"seconds": 100}, policy=policy)
    cancelled = bench.start("stubborn", {"seconds": 100}, policy=policy)
    await settle()
    assert bench.handle.task(cancelled).cancel()
    await bench.idle()
    assert round(clock.time()) == 13
    ends = [bench.end_of(cancelled), bench.end_of(timed)]
    assert [type(end) for end in ends] == [TaskCancelled, TaskTimedOut]
    assert [getattr(end, "abandoned", None) for end in ends] == [True, True]
    assert "may still be running" in (await bench.answer()).content


# -- 14: context variables ---------------------------------------------------------------------

SPAN: ContextVar[str] = ContextVar("SPAN", default="none")


async def spanned(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    return Completed(SPAN.get(), SPAN.get())


async def test_a_queued_task_keeps_the_context_variables_of_its_launch(
    clock: VirtualClock,
) -> None:
    bench = Bench(clock, {"spanned": spanned}, limits=Limits(conversation=1))
    bench.start("sleep", {"seconds": 5})
    SPAN.set("of the turn")
    task = bench.start_in_background("spanned")
    SPAN.set("of the next turn")
    assert (await bench.ended(task)).content == "of the turn"


async def test_an_approved_relaunch_keeps_the_context_variables_of_its_launch(
    clock: VirtualClock,
) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        outcome = await gated(call, ctx)
        return await spanned(call, ctx) if isinstance(outcome, Completed) else outcome

    bench = Bench(clock, {"tool": tool})
    SPAN.set("of the turn")
    task = bench.start_in_background("tool")
    await settle()
    SPAN.set("of who approves")
    bench.handle.approve(bench.handle.approvals()[0].id, by="ana")
    assert (await bench.ended(task)).content == "of the turn"
