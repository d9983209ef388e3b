"""The manager without tasks: every call runs inline, and there is nothing to see."""

from collections.abc import Mapping
from typing import Any

import pytest

from sidetask.core.errors import InvalidInputError, TaskNotFoundError, UnknownToolError
from sidetask.core.ids import TaskId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import background
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.context import RunContext
from sidetask.tasks.manager import TaskManager
from sidetask.tasks.parts.runner import Executor
from sidetask.tasks.simple import SimpleTaskManager
from sidetask.tasks.values import (
    Completed,
    Errored,
    Idle,
    LoopUpdates,
    Ready,
    Refused,
    Resolution,
    TaskLaunch,
    ToolOutcome,
    TurnSettled,
)
from tests.tasks.harness import TOOLS, C, State, T


async def ready(
    name: str, arguments: Any = None, tools: Mapping[str, Executor] = TOOLS
) -> Resolution:
    manager: TaskManager = SimpleTaskManager(tools, deps="deps", state=State())
    call = ToolCall.make(name, arguments, id="call-1")
    started = await manager.start_task(TaskLaunch(call=call, conversation_id=C, turn_id=T))
    assert isinstance(started, Ready)
    assert started.resolution.call_ids == ("call-1",)
    return started.resolution


async def test_a_call_is_carried_out_before_its_start_returns() -> None:
    resolution = await ready("quick", {"value": 7})
    assert (resolution.status, resolution.value, resolution.content) == ("succeeded", 7, "done")


async def test_a_background_call_runs_inline_too() -> None:
    manager = SimpleTaskManager(TOOLS)
    launch = TaskLaunch(call=ToolCall.make("quick"), conversation_id=C, route=background())
    assert (await manager.start_task(launch)).resolution.status == "succeeded"
    assert manager.take_pending_loop_updates(C) == LoopUpdates(())


async def exits(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    raise SystemExit(1)


async def errs(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    return Errored("no luck")


async def refuses(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
    return Refused("not on Sundays")


async def returns_no_outcome(call: ToolCall, ctx: RunContext[Any]) -> Any:
    return None


@pytest.mark.parametrize(
    ("tool", "status", "said"),
    [
        (TOOLS["fail"], "failed", "no luck"),
        (exits, "failed", "SystemExit"),
        (errs, "failed", "no luck"),
        (refuses, "denied", "not on Sundays"),
        (returns_no_outcome, "failed", "no outcome"),
        (TOOLS["gated"], "awaiting_approval", "needs an approval: tool"),
        (TOOLS["asking"], "awaiting_approval", "really?"),
    ],
)
async def test_a_fault_a_refusal_and_a_question_are_answers(
    tool: Executor, status: str, said: str
) -> None:
    resolution = await ready("tool", tools={"tool": tool})
    assert (resolution.status, resolution.is_error) == (status, True)
    assert said in resolution.content


async def test_an_unknown_tool_is_refused() -> None:
    with pytest.raises(UnknownToolError, match="no tool 'nothing'"):
        await ready("nothing")


async def test_a_tool_sees_its_context() -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        await ctx.progress(0.5, "nobody listens")
        ctx.state.set("seen", ctx.deps)
        assert ctx.state["seen"] == "deps"
        assert (ctx.attempt, ctx.turn_id, ctx.conversation_id) == (1, T, C)
        assert not ctx.is_approved("tool", call.digest())
        with pytest.raises(InvalidInputError, match="starts no tasks"):
            ctx.spawn("quick")
        return Completed(await ctx.step("one", double, 21), "stepped")

    async def double(number: int) -> int:
        return 2 * number

    assert (await ready("tool", tools={"tool": tool})).value == 42


async def test_a_call_sees_the_cancellation_of_its_turn() -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        return Completed(ctx.cancelled.is_cancelled, "")

    token = CancelToken()
    token.cancel()
    manager = SimpleTaskManager({"tool": tool})
    launch = TaskLaunch(call=ToolCall.make("tool"), conversation_id=C)
    assert (await manager.start_task(launch, cancellation=token)).resolution.value is True


async def test_a_tool_without_a_state_is_told_so() -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        return Completed(ctx.state.get("x"), "")

    manager = SimpleTaskManager({"tool": tool})
    launch = TaskLaunch(call=ToolCall.make("tool"), conversation_id=C)
    assert "without a state" in (await manager.start_task(launch)).resolution.content


async def test_nothing_is_ever_pending() -> None:
    manager = SimpleTaskManager(TOOLS)
    assert await manager.wait_for_turn(C, T) == TurnSettled()
    assert manager.on_turn_interrupted(C, T) == []
    manager.ack(C, [TaskId("call-1")])
    handle = manager.handle()
    assert (handle.list(), handle.list_running(), handle.list_completed()) == ([], [], [])
    assert (handle.approvals(), handle.drain_ready_items()) == ([], [])
    assert await handle.wait_for_idle() == Idle(undelivered=0, approvals=0)
    assert await handle.close() == []


async def test_there_is_no_task_to_cancel_or_to_change() -> None:
    handle = SimpleTaskManager(TOOLS).handle()
    for refused in (
        lambda: handle.get("call-1"),
        lambda: handle.detach("call-1"),
        lambda: handle.set_on_complete("call-1", "notify"),
        lambda: handle.set_continue_policy("call-1", "notify"),
        lambda: handle.set_delivery_mode("call-1", "manual"),
    ):
        with pytest.raises(TaskNotFoundError):
            refused()
    with pytest.raises(TaskNotFoundError):
        await handle.cancel("call-1")
    with pytest.raises(TaskNotFoundError):
        await handle.wait("call-1")
