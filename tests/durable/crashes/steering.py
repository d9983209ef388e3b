"""What is killed: stopping, sending, letting go, deleting, waking."""

import asyncio
from contextlib import suppress
from typing import Any

from sidetask import Agent, AgentHandle, RunContext, background, tool
from sidetask.core.budget import Budget
from sidetask.core.errors import TurnCancelledError
from sidetask.core.events import TaskStarted
from sidetask.core.messages import ToolMessage
from sidetask.core.routing import TaskPolicy
from sidetask.models.base import ModelRequest
from sidetask.runtime.triggers.schedule import every
from sidetask.testing import call
from tests.durable.crashes.invariants import Found
from tests.durable.crashes.lives import NAME, Life, Story, brain
from tests.durable.crashes.stories import LONG, SHORT, says, talk, workers
from tests.durable.crashes.world import World


async def interrupted(life: Life, chat: AgentHandle) -> None:
    response = await chat.chat("mixed")
    await asyncio.sleep(SHORT / 2)
    await chat.interrupt()
    with suppress(TurnCancelledError):
        await response
    await chat.wait_for_idle()
    await life.ask(chat, "hi")


async def cancelled(life: Life, chat: AgentHandle) -> None:
    await life.ask(chat, "pay")
    for task in chat.tasks.running():
        await chat.tasks.cancel(task.id, "not any more")
    await chat.wait_for_idle()
    life.told(chat)


async def ordered(life: Life, chat: AgentHandle) -> None:
    """Another process says something, and stops a task."""
    await life.ask(chat, "pay")
    async with life.client() as client:
        await client.send(NAME, "look")
        if life.world.alive:
            life.world.said.append("look")
        for task in await client.tasks(conversation_id=NAME):
            await client.cancel(task.id, by="bob")
    await asyncio.sleep(LONG)
    await chat.wait_for_idle()


async def let_go(life: Life, chat: AgentHandle) -> None:
    """Disconnected with a task alive, and taken up again in the same process."""
    await life.ask(chat, "pay")
    await chat.disconnect()
    again = await life.running.resume(NAME)
    await again.wait_for_idle()
    await life.ask(again, "hi")


async def cleared(life: Life, chat: AgentHandle) -> None:
    await life.ask(chat, "hi")
    life.world.forget("history")
    await chat.clear_history()
    await life.ask(chat, "look")


async def deleted(life: Life, chat: AgentHandle) -> None:
    await life.ask(chat, "pay")
    life.world.forget("all")
    await chat.delete()


async def woken(life: Life, chat: AgentHandle) -> None:
    await asyncio.sleep(LONG)
    await chat.wait_for_idle()


def others(world: World) -> list[Agent]:
    @tool(route=background(), policy=TaskPolicy(delivery="manual"))
    async def host(ctx: RunContext[object]) -> str:
        """Work for the host."""
        world.act(f"host {ctx.task_id}")
        await asyncio.sleep(SHORT)
        return "for you"

    @tool(route=background(), policy=TaskPolicy(on_duplicate="join"))
    async def shared(ctx: RunContext[object]) -> str:
        """Work for all who ask."""
        world.act(f"shared {ctx.task_id}")
        await asyncio.sleep(LONG)
        return "for all"

    plan = {
        "host": [call("host"), "Begun."],
        "join": [(call("shared"), call("shared")), "Begun.", "Both."],
        "wait": [call("shared"), _wait, "It came."],
    }
    return [Agent(brain(plan), name="other", tools=[host, shared])]


def _wait(request: ModelRequest) -> Any:
    """Wait for the task of the last receipt."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage) and last.results[0].content.startswith("Running"):
        return call("wait_for_task", task_id=last.results[0].content.split()[5].rstrip("."))
    return "Nothing to wait for."


async def drained(life: Life, chat: AgentHandle) -> None:
    await life.ask(chat, "host")
    await chat.wait_for_idle()
    life.drain(chat)


def poor(world: World) -> list[Agent]:
    @tool
    async def spend(ctx: RunContext[object]) -> str:
        """Spend one of two calls."""
        world.act(f"spend {ctx.task_id}")
        return "spent"

    plan = {
        "one": [call("spend"), "One."],
        "two": [call("spend"), "Two."],
        "three": [call("spend"), "Three."],
        "Any news?": [call("spend"), "More."],
    }
    model = brain(plan)
    return [Agent(model, name="poor", tools=[spend], budget=Budget(tool_calls=2))]


def spent_twice_at_most(world: World, found: Found) -> None:
    begun = [fact for fact in found.facts if isinstance(fact, TaskStarted)]
    assert len(begun) <= 2, "a crash has filled the budget again"


STORIES = (
    Story(name="interrupted", fails=True, busy=True, agents=workers, first=interrupted),
    Story(name="cancelled", agents=workers, first=cancelled),
    Story(name="ordered", agents=workers, first=ordered),
    Story(name="let-go", fails=True, agents=workers, first=let_go),
    Story(name="cleared", agents=workers, first=cleared),
    Story(name="deleted", agents=workers, first=deleted),
    Story(name="woken", agents=talk, first=woken, triggers=(every(SHORT, "hi"),)),
    Story(name="drained", agents=others, first=drained),
    Story(name="joined", agents=others, first=says("join")),
    Story(name="waited", agents=others, first=says("wait")),
    Story(
        name="budget",
        fails=True,
        agents=poor,
        first=says("one", "two", "three"),
        extra=spent_twice_at_most,
    ),
)
