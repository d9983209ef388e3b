"""What hooks say of a call holds also when a restart begins it anew."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.runtime.harness import settle
from tests.tasks.durable.lives import Disk

from sidetask import Agent, AgentHandle, RunContext, TaskPolicy, background, tool
from sidetask.agents.policies.hooks import Change, Decision, Deny, HookContext, Hooks, ToolUse
from sidetask.agents.policies.rules import Policy, ask
from sidetask.runtime.runtime import Runtime
from sidetask.testing import ScriptedModel, call, running_runtime

RETRY = TaskPolicy(idempotent=True, on_crash="retry")


class Fence(Hooks):
    """Keeps what is written below one folder."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.thinks: asyncio.Event | None = None
        """Until this is set."""
        self.denies = False

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Decision:
        path = str(call.arguments["path"])
        self.asked.append(path)
        if self.thinks is not None:
            await self.thinks.wait()
        return Deny("not today") if self.denies else Change({"path": f"below/{path}"})


class Desk:
    """An agent that writes a file in the background, and what became of it."""

    def __init__(self, runtime: Runtime, agent: Agent, wrote: list[str]) -> None:
        self.runtime = runtime
        self.agent = agent
        self.wrote = wrote

    async def begin(self) -> AgentHandle:
        """The file is being written, or somebody thinks about it."""
        chat = await self.runtime.open(self.agent)
        await chat.ask("write")
        await asyncio.sleep(50)
        return chat

    async def restart(self, chat: AgentHandle) -> AgentHandle:
        """Its process has died, and another one takes it up."""
        await chat.disconnect()
        return await self.runtime.resume(chat.conversation_id, agent=self.agent)


@asynccontextmanager
async def desk(
    fence: Fence, *, crash: TaskPolicy = RETRY, **config: Any
) -> AsyncGenerator[Desk, None]:
    wrote: list[str] = []

    @tool(route=background(), policy=crash)
    async def write(ctx: RunContext[Any], path: str) -> str:
        """Write a file."""
        wrote.append(path)
        await asyncio.sleep(100)
        return f"wrote {path}"

    model = ScriptedModel(call("write", path="a.txt"), "Begun.", "Told.", "Told.")
    agent = Agent(model, name="writer", tools=[write], hooks=[fence], **config)
    async with running_runtime(store=Disk(), on_approval="host") as runtime:
        yield Desk(runtime, agent, wrote)
        for chat in runtime.live_agents:
            await chat.shutdown()


async def test_what_a_hook_has_changed_is_what_runs_again() -> None:
    async with desk(Fence()) as at:
        again = await at.restart(await at.begin())
        await again.wait_for_idle()
        assert at.wrote == ["below/a.txt", "below/a.txt"]


async def test_a_call_about_which_a_hook_was_still_thinking_does_not_run_without_it() -> None:
    fence = Fence()
    fence.thinks = asyncio.Event()
    async with desk(fence) as at:
        chat = await at.begin()
        fence.denies = True
        again = await at.restart(chat)
        await settle()
        assert at.wrote == []
        fence.thinks.set()
        await again.wait_for_idle()
        assert at.wrote == []
        assert fence.asked == ["a.txt", "a.txt"]


@pytest.mark.parametrize("denies", [False, True])
async def test_a_person_who_lets_a_call_run_again_does_not_speak_for_the_hooks(
    denies: bool,
) -> None:
    fence = Fence()
    async with desk(fence, crash=TaskPolicy(on_crash="ask")) as at:
        again = await at.restart(await at.begin())
        fence.denies = denies
        [asked] = again.approvals
        assert asked.kind == "crash"
        again.approvals.approve(asked.id, by="ana")
        await settle()  # the decision is written down first
        await again.wait_for_idle()
        assert at.wrote == ["below/a.txt"] * (1 if denies else 2)
        assert fence.asked == ["a.txt", "a.txt"]


async def test_what_a_person_has_approved_before_it_ran_is_changed_by_no_hook_again() -> None:
    fence = Fence()
    async with desk(fence, policy=Policy(ask("write"))) as at:
        chat = await at.begin()
        [asked] = chat.approvals
        chat.approvals.approve(asked.id, by="ana")
        await asyncio.sleep(50)
        again = await at.restart(chat)
        await again.wait_for_idle()
        assert at.wrote == ["below/a.txt", "below/a.txt"]
        assert fence.asked == ["a.txt"]
