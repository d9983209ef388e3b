"""The promises of the task manager, in the order of the design.

Those that need more than a screen have files of their own: approvals (8), memory (11), caps (12),
time and context variables (13, 14).
"""

import asyncio
from typing import Any, NoReturn

import pytest

from sidetask.core.errors import TaskFencedError, ToolError
from sidetask.core.events import TaskFailed
from sidetask.core.ids import ConversationId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import TaskPolicy, background, detach_after
from sidetask.tasks.aio.threads import shared
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import RunContext
from sidetask.tasks.values import (
    Approval,
    Completed,
    Detached,
    Errored,
    Resolved,
    ToolOutcome,
    TurnSettled,
)
from sidetask.testing import VirtualClock
from tests.tasks.harness import LIMIT, MANUAL, Bench, C, State, T, settle, timers

# -- 1: a fault becomes an end -----------------------------------------------------------------


async def raises_tool_error(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    raise ToolError("no luck")


async def raises_a_bug(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    return Completed(1 // 0, "")


async def exits(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    raise SystemExit(3)


async def tells_an_error(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    return Errored("no luck", "Unlucky")


async def raises_cancelled(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    raise asyncio.CancelledError


async def returns_no_outcome(call: ToolCall, ctx: RunContext[Any]) -> Any:
    return None


def raises_before_its_first_await(call: ToolCall, ctx: RunContext[Any]) -> NoReturn:
    raise RuntimeError("not even a coroutine")


FAULTS = [
    raises_tool_error,
    raises_a_bug,
    exits,
    tells_an_error,
    raises_cancelled,
    returns_no_outcome,
    raises_before_its_first_await,
]


@pytest.mark.parametrize("tool", FAULTS)
async def test_a_failing_tool_ends_as_failed_and_answers_with_an_error(
    clock: VirtualClock, tool: Any
) -> None:
    bench = Bench(clock, {"tool": tool})
    task = bench.start("tool", call_id="call-1")
    answer = await bench.answer()
    assert (answer.status, answer.is_error, answer.call_ids) == ("failed", True, ("call-1",))
    assert answer.content
    assert isinstance(bench.end_of(task), TaskFailed)
    assert bench.handle.get(task).error == answer.content
    assert await bench.news() == TurnSettled()
    await bench.idle()
    await bench.assert_no_leaks()


# -- 2: the first end wins ---------------------------------------------------------------------


async def test_a_tool_that_swallows_cancellation_delivers_nothing_when_it_returns_late(
    bench: Bench,
) -> None:
    task = bench.start("stubborn", {"seconds": 100})
    await settle()
    assert await bench.handle.cancel(task, grace=5) == "cancelled"
    assert (await bench.answer()).status == "cancelled"
    before = list(bench.events)
    await asyncio.sleep(LIMIT)
    assert bench.events == before
    assert bench.pending() == ()
    assert await bench.news() == TurnSettled()
    assert bench.handle.get(task).status is TaskStatus.CANCELLED
    await bench.assert_no_leaks()


async def test_an_attempt_that_is_over_may_not_write_ask_or_spawn(clock: VirtualClock) -> None:
    refused: list[str] = []

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        ctx.state.set("early", 1)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            for late in (
                lambda: ctx.state.set("late", 1),
                lambda: ctx.state.delete("early"),
                lambda: ctx.spawn("quick"),
            ):
                with pytest.raises(TaskFencedError, match="attempt 1"):
                    late()
                refused.append("late")
            with pytest.raises(TaskFencedError):
                await ctx.request_approval("late?")
        return Completed("late", "late")

    state = State()
    bench = Bench(clock, {"tool": tool}, state=state)
    task = bench.start("tool")
    await settle()
    await bench.handle.cancel(task)
    assert (len(refused), state.values) == (3, {"early": 1})
    assert bench.told(task) == ["task_queued", "task_started", "task_cancelled"]


# -- 3: every call is answered exactly once ----------------------------------------------------


async def test_a_host_cancel_of_a_foreground_task_gives_its_turn_an_error_item(
    bench: Bench,
) -> None:
    task = bench.start(call_id="call-1")
    await settle()
    await bench.handle.cancel(task, "too slow")
    answer = await bench.answer()
    assert (answer.status, answer.is_error, answer.call_ids) == ("cancelled", True, ("call-1",))
    assert "too slow" in answer.content
    assert await bench.news() == TurnSettled()
    assert bench.pending() == ()


async def test_a_host_cancel_of_a_background_task_gives_one_cancelled_notice_and_nothing_later(
    bench: Bench,
) -> None:
    task = bench.start_in_background()
    await settle()
    await bench.handle.cancel(task)
    [notice] = bench.pending()
    assert (notice.task_id, notice.status) == (task, "cancelled")
    bench.manager.ack(C, [task])
    await asyncio.sleep(LIMIT)
    assert bench.pending() == ()
    await bench.assert_no_leaks()


# -- 4: no lost wake-ups -----------------------------------------------------------------------


async def test_two_waiters_of_one_turn_share_one_answer_and_neither_hangs(bench: Bench) -> None:
    bench.start("sleep", {"seconds": 5})
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(bench.news()) for _ in range(2)]
    told = [type(waiter.result()) for waiter in waiters]
    assert sorted(told, key=str) == [Resolved, TurnSettled]


async def test_an_end_in_another_thread_wakes_the_turn(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        return await shared().run(Completed, "from a thread", "from a thread")

    bench = Bench(clock, {"tool": tool})
    bench.start("tool")
    assert (await bench.answer()).content == "from a thread"


# -- 5 and 6: the timer of a detach ------------------------------------------------------------


async def test_a_timer_of_an_attempt_that_asked_never_detaches_the_approved_relaunch(
    bench: Bench,
) -> None:
    task = bench.start("gated", {"seconds": 9}, route=detach_after(10))
    await asyncio.sleep(8)
    [approval] = bench.handle.approvals()
    bench.handle.approve(approval.id, by="ana")
    assert (await bench.answer()).status == "succeeded"
    assert "task_detached" not in bench.told(task)
    assert timers() == 0


async def test_an_approved_relaunch_has_a_new_timer_of_its_own(
    bench: Bench, clock: VirtualClock
) -> None:
    task = bench.start("gated", {"seconds": 11}, route=detach_after(10))
    await asyncio.sleep(100)
    bench.handle.approve(bench.handle.approvals()[0].id, by="ana")
    approved = clock.time()
    assert isinstance(await bench.news(), Detached)
    assert round(clock.time() - approved) == 10
    assert (await bench.ended(task)).status == "succeeded"


async def test_a_tool_that_ends_before_its_timer_is_an_ordinary_result(bench: Bench) -> None:
    task = bench.start("sleep", {"seconds": 4}, route=detach_after(5))
    assert (await bench.answer()).status == "succeeded"
    assert await bench.news() == TurnSettled()
    assert bench.told(task) == ["task_queued", "task_started", "task_succeeded"]
    assert (timers(), bench.pending()) == (0, ())


# -- 7: approvals of the background ------------------------------------------------------------


async def test_an_approval_of_a_background_task_in_manual_mode_is_to_be_had_and_no_end(
    bench: Bench,
) -> None:
    task = bench.start_in_background("asking", policy=MANUAL)
    await settle()
    [item] = bench.handle.drain_ready_items()
    assert isinstance(item, Approval)
    assert (item.task_id, item.reason, item.metadata) == (task, "really?", {"about": "it"})
    assert bench.told(task)[-1] == "approval_requested"
    assert bench.handle.list_completed() == []
    assert bench.handle.get(task).status is TaskStatus.AWAITING_APPROVAL
    assert bench.handle.drain_ready_items() == []


# -- 9: conversations never touch each other ---------------------------------------------------


async def test_conversations_with_the_same_turn_id_share_nothing(bench: Bench) -> None:
    mine = bench.start("sleep", {"seconds": 5}, conversation="mine")
    yours = bench.start("sleep", {"seconds": 9}, conversation="yours")
    late = bench.start_in_background("sleep", {"seconds": 7}, conversation="yours")
    await settle()
    bench.manager.on_turn_interrupted(ConversationId("mine"), T)
    assert bench.handle.get(mine).status is TaskStatus.RUNNING  # it is still stopping
    assert (await bench.answer(conversation="yours")).task_id == yours
    assert bench.handle.get(mine).status is TaskStatus.CANCELLED
    assert bench.pending("mine") == ()
    assert [item.task_id for item in bench.pending("yours")] == [late]
    for conversation in ("mine", "yours"):
        seqs = [event.seq for event in bench.events if event.conversation_id == conversation]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_names_of_conversations_turns_and_tools_are_never_mixed_up(bench: Bench) -> None:
    """A turn `sleep` of a conversation `tool`, and the cap of the tool `sleep`."""
    capped = TaskPolicy(cap=1)
    bench.start("sleep", {"seconds": 5}, policy=capped)
    other = bench.start("quick", conversation="tool", turn="sleep")
    assert (await bench.answer("sleep", "tool")).task_id == other


# -- 10: who sees whose cancellation -----------------------------------------------------------


async def test_only_a_foreground_task_sees_the_cancellation_of_its_turn(
    clock: VirtualClock,
) -> None:
    tokens: dict[str, CancelToken] = {}

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        tokens[ctx.task_id] = ctx.cancelled
        await asyncio.sleep(100)
        return Completed(None, "")

    bench, turn = Bench(clock, {"tool": tool}), CancelToken()
    waiting = bench.start("tool", cancellation=turn)
    detached = bench.start("tool", route=detach_after(1), cancellation=turn)
    behind = bench.start("tool", route=background(), cancellation=turn)
    await asyncio.sleep(2)
    turn.cancel("stop")
    assert [bool(tokens[task]) for task in (waiting, detached, behind)] == [True, False, False]


async def test_a_token_that_is_first_looked_at_after_the_detach_is_no_child_of_its_turns(
    clock: VirtualClock,
) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await asyncio.sleep(10)
        return Completed(ctx.cancelled.is_cancelled, "")

    bench, turn = Bench(clock, {"tool": tool}), CancelToken()
    task = bench.start("tool", route=detach_after(1), cancellation=turn)
    await asyncio.sleep(2)
    turn.cancel("stop")
    assert (await bench.ended(task)).value is False


async def test_cancelling_a_task_signals_its_own_token_and_those_of_its_children(
    clock: VirtualClock,
) -> None:
    tokens: list[CancelToken] = []

    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        tokens.append(ctx.cancelled)
        if "leaf" not in call.parsed():
            await ctx.spawn("tool", leaf=True)
        await asyncio.sleep(100)
        return Completed(None, "")

    bench = Bench(clock, {"tool": tool})
    task = bench.start_in_background("tool")
    await settle()
    assert [bool(token) for token in tokens] == [False, False]
    assert bench.handle.task(task).cancel()
    assert [bool(token) for token in tokens] == [True, True]  # in the same tick
    await bench.idle()
    assert {task.status for task in bench.handle.list()} == {TaskStatus.CANCELLED}
