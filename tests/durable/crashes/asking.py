"""What is killed: questions to a person, and their answers."""

import asyncio
from dataclasses import replace

from sidetask import Agent, AgentHandle, RunContext, background, tool
from sidetask.agents.policies import Policy, ask
from sidetask.core.routing import TaskPolicy
from sidetask.testing import call
from tests.durable.crashes.lives import NAME, Life, Story, brain, rest
from tests.durable.crashes.stories import LONG, SHORT
from tests.durable.crashes.world import World


def askers(world: World) -> list[Agent]:
    @tool(approval="ask")
    async def send(ctx: RunContext[object]) -> str:
        """Send a mail, once."""
        world.act(f"send {ctx.task_id}")
        await asyncio.sleep(SHORT)
        return "sent"

    async def draft(name: str) -> str:
        world.begin(name)
        await asyncio.sleep(SHORT)
        return "draft"

    @tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
    async def publish(ctx: RunContext[object]) -> str:
        """Publish, after a question in the middle."""
        name = f"{ctx.task_id} draft"
        await ctx.step("draft", draft, name)
        world.finish(name)
        await ctx.request_approval("publish it?")
        world.begin(f"{ctx.task_id} publish")
        await asyncio.sleep(SHORT)
        return "published"

    @tool(route=background(), approval="ask")
    async def order(ctx: RunContext[object]) -> str:
        """Order something, once."""
        world.act(f"order {ctx.task_id}")
        await asyncio.sleep(LONG)
        return "ordered"

    plan = {
        "send": [call("send"), "Done."],
        "publish": [call("publish"), "On it."],
        "order": [call("order"), "On it."],
        "all": [(call("send"), call("publish"), call("order")), "All."],
    }
    return [Agent(brain(plan), name="asker", tools=[send, publish, order])]


def strict(world: World) -> list[Agent]:
    """A policy asks, too: two questions on one call."""
    [agent] = askers(world)
    asks = Policy(ask("send", reason="it is Sunday"), default="allow")
    return [replace(agent, policy=asks)]


def asked(word: str, *, approve: bool = True):
    """A first life in which a person is asked, and answers."""

    async def first(life: Life, chat: AgentHandle) -> None:
        response = await chat.chat(word)
        while not list(chat.approvals):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(SHORT)
        for each in list(chat.approvals):
            if approve:
                chat.approvals.approve(each.id, by="bob")
            else:
                chat.approvals.deny(each.id, "no", by="bob")
        reply = await response
        if life.world.alive:
            life.world.answers.append(reply.text)
        await rest(life, chat)
        life.told(chat)

    return first


async def from_outside(life: Life, chat: AgentHandle) -> None:
    """Another process answers."""
    await life.ask(chat, "order")
    async with life.client() as client:
        [open_one] = await client.approvals(conversation_id=NAME)
        await open_one.approve(by="bob")
        if life.world.alive:
            life.world.decided[open_one.id] = "approved"
    await asyncio.sleep(LONG)
    await rest(life, chat)


STORIES = (
    Story(name="approved", agents=askers, first=asked("send")),
    Story(
        name="denied", fails=True, agents=askers, first=asked("send", approve=False), answer="deny"
    ),
    Story(name="in-body", agents=askers, first=asked("publish")),
    Story(name="in-body-denied", agents=askers, first=asked("publish", approve=False)),
    Story(name="two-questions", agents=strict, first=asked("send")),
    Story(name="all-asked", busy=True, agents=askers, first=asked("all")),
    Story(name="from-outside", agents=askers, first=from_outside),
)
