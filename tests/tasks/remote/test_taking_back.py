"""A job that its home takes back goes on where its worker was."""

import asyncio
from typing import Any

import pytest

from sidetask.agents.tools.tool import AnyTool, tool
from sidetask.core.ids import TaskId
from sidetask.core.messages import ToolCall
from sidetask.engines.base import JobSpec
from sidetask.stores.base import Record
from sidetask.tasks.context import RunContext
from sidetask.tasks.durable.steps import StoredSteps
from sidetask.tasks.remote.values import ASKS, Ask, ask_id
from sidetask.testing import VirtualClock
from tests.tasks.harness import C, settle
from tests.tasks.remote.town import AGAIN, HomeBench, Town


@pytest.fixture
def town(clock: VirtualClock) -> Town:
    return Town(clock)


def tools_of(town: Town) -> tuple[AnyTool, ...]:
    async def step(number: int) -> int:
        town.runs.append(f"step {number}")
        return number

    @tool
    async def child(ctx: RunContext[Any]) -> int:
        """Work in steps."""
        return sum([await ctx.step(f"s{number}", step, number) for number in range(3)])

    @tool
    async def parent(ctx: RunContext[Any]) -> str:
        """Let a child work."""
        return str(await ctx.spawn("child"))

    @tool
    async def asks(ctx: RunContext[Any]) -> str:
        """Ask."""
        await ctx.request_approval("go on?", n=1)
        return "done at home"

    return child, parent, asks


async def begun(town: Town, name: str) -> tuple[HomeBench, TaskId, Any, Any]:
    """A job that a worker has."""
    worker = town.worker("w1", name)
    home = await town.home(tools=tools_of(town))
    task_id = home.start_in_background(name, policy=AGAIN)
    await settle()
    return home, task_id, worker, await worker.claim()


async def test_what_its_children_have_finished_is_not_done_again(town: Town) -> None:
    home, task_id, worker, _ = await begun(town, "parent")
    digest = ToolCall.make("child", {}, id="child").digest()[:8]
    child = TaskId(f"{task_id}.{digest}.0")
    spec = JobSpec(f"{child}:1", child, 1, "child", "{}", C)
    for number in (0, 1):
        await StoredSteps(town.store, town.clock.now).write(spec, f"s{number}#0", number)
    await worker.die()
    assert (await home.ended(task_id)).content == "3"
    assert town.runs == ["step 2"]


async def test_what_ends_here_after_its_conversation_was_taken_is_for_others_to_do_again(
    town: Town,
) -> None:
    @tool
    async def stubborn() -> str:
        """Work, and mind no cancellation."""
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "what it wrote to the state was refused"
        return "never"

    begun = asyncio.Event()
    worker = town.worker("w1", "stubborn")
    home = await town.home(tools=[stubborn])
    task_id = home.start_in_background("stubborn", policy=AGAIN)
    await settle()
    job = await worker.claim()
    await worker.die()
    await begun.wait()
    assert home.manager.kept is not None
    home.manager.kept.let_go(C, is_taken=True)
    home.handle.task(task_id).cancel("another process has it")
    await asyncio.sleep(1)
    found = await town.store.queue.get(job.id)
    assert found is not None
    assert (found.status, found.result) == ("queued", None)


async def test_what_a_person_has_allowed_is_not_asked_again(town: Town) -> None:
    home, task_id, worker, job = await begun(town, "asks")
    await worker.ask(job)
    [approval] = home.handle.approvals()
    home.handle.approve(approval.id, by="ana")
    await settle()
    await worker.die()
    assert (await home.ended(task_id)).content == "done at home"


async def test_what_a_child_was_allowed_its_parent_is_not(town: Town) -> None:
    home, task_id, worker, job = await begun(town, "asks")
    asked = Ask(job_id=job.id, reason="go on?", details={"tool": "child", "arguments": "{}"})
    town.store.view().put(
        Record(
            kind=ASKS,
            conversation_id=C,
            id=ask_id(job.id, 1),
            status="open",
            at=0.0,
            value=asked,
        )
    )
    await settle()
    [approval] = home.handle.approvals()
    home.handle.approve(approval.id, by="ana")
    await settle()
    await worker.die()
    await asyncio.sleep(1.1)
    [again] = home.handle.approvals()
    assert again.metadata == {"n": 1}
    home.handle.approve(again.id, by="ana")
    assert (await home.ended(task_id)).content == "done at home"
