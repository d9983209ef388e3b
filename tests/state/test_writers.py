"""What tools write: seen by all at once, in their task's name, and not once it is over."""

import asyncio
from typing import Any

import pytest

from sidetask.core.errors import TaskFencedError
from sidetask.core.messages import ToolCall
from sidetask.state.state import State
from sidetask.tasks.context import RunContext
from sidetask.tasks.values import Completed, ToolOutcome
from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench, settle


async def test_a_tools_write_is_visible_at_once_and_tells_the_task_that_made_it(
    clock: VirtualClock,
) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        ctx.state.set("a", 1, resolver="who")
        await asyncio.sleep(100)
        return Completed(1, "1")

    state = State()
    bench = Bench(clock, {"tool": tool}, state=state)
    task = bench.start("tool")
    assert await state.wait_for("a", timeout=1) == 1
    told = state.provenance("a")
    assert told is not None
    assert (told.source, told.resolver, told.task_id, told.attempt) == ("tool", "who", task, 1)
    await bench.handle.cancel(task)


async def test_a_fork_of_a_task_that_is_over_commits_nothing(clock: VirtualClock) -> None:
    async def tool(call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        fork = ctx.state.fork()
        fork.set("a", 1)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            for write in (fork.commit, lambda: ctx.state.update({"a": 2})):
                with pytest.raises(TaskFencedError):
                    write()
            assert (fork["a"], ctx.state.get("a")) == (1, None)
            refused.append("both")
        return Completed("late", "late")

    state, refused = State(), list[str]()
    bench = Bench(clock, {"tool": tool}, state=state)
    task = bench.start("tool")
    await settle()
    await bench.handle.cancel(task)
    assert (refused, state.snapshot()) == (["both"], {})
