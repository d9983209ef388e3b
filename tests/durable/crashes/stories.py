"""What is killed: turns, and tools in the foreground and in the background."""

import asyncio

from sidetask import Agent, AgentHandle, RunContext, background, detach_after, tool
from sidetask.core.routing import TaskPolicy
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import call
from tests.durable.crashes.lives import Life, Story, brain
from tests.durable.crashes.world import World

LONG, SHORT = 0.3, 0.05
"""Virtual seconds."""


def talk(world: World) -> list[Agent]:
    return [Agent(brain({"hi": ["Hello."]}), name="talker")]


async def plain(life: Life, chat: AgentHandle) -> None:
    await life.ask(chat, "hi")
    await life.ask(chat, "and?")


def workers(world: World) -> list[Agent]:
    @tool
    async def look(ctx: RunContext[object]) -> str:
        """Look, once."""
        world.act(f"look {ctx.task_id}")
        await asyncio.sleep(SHORT)
        return "seen"

    @tool(route=background())
    async def pay(ctx: RunContext[object]) -> str:
        """Pay, once."""
        world.act(f"pay {ctx.task_id}")
        await asyncio.sleep(LONG)
        return "paid"

    @tool(route=background())
    async def quick(ctx: RunContext[object]) -> str:
        """Be done at once."""
        world.act(f"quick {ctx.task_id}")
        return "quick"

    @tool(route=detach_after(SHORT))
    async def slow(ctx: RunContext[object]) -> str:
        """Take longer than a turn waits."""
        world.act(f"slow {ctx.task_id}")
        await asyncio.sleep(LONG)
        return "at last"

    @tool
    async def fail(ctx: RunContext[object]) -> str:
        """Fail."""
        world.act(f"fail {ctx.task_id}")
        raise ValueError("no luck")

    plan = {
        "look": [call("look"), "Seen."],
        "pay": [call("pay"), "Begun."],
        "both": [(call("quick"), call("look")), "Both."],
        "slow": [call("slow"), "It takes long."],
        "three": [(call("look"), call("fail"), call("look")), "Two of three."],
        "many": [(call("pay"), call("pay"), call("slow")), "One after the other."],
        "mixed": [(call("pay"), call("look"), call("quick"), call("slow")), "All of it."],
    }
    return [Agent(brain(plan), name="worker", tools=[look, pay, quick, slow, fail])]


def says(*words: str):
    """A first life that says this, and lets it come to rest."""

    async def first(life: Life, chat: AgentHandle) -> None:
        for each in words:
            await life.ask(chat, each)
        await chat.wait_for_idle()
        life.told(chat)

    return first


def steppers(world: World) -> list[Agent]:
    async def work(word: str) -> str:
        world.begin(word)
        await asyncio.sleep(SHORT)
        return word

    async def walk(ctx: RunContext[object]) -> str:
        for number in range(3):
            name = f"{ctx.task_id} {number}"
            await ctx.step(f"step {number}", work, name)
            world.finish(name)
        return "walked"

    retry = TaskPolicy(idempotent=True, on_crash="retry")
    ask = TaskPolicy(on_crash="ask")
    again = tool(name="again", description="Walk.", route=background(), policy=retry)(walk)
    asks = tool(name="asks", description="Walk.", route=background(), policy=ask)(walk)
    plan = {"again": [call("again"), "On it."], "asks": [call("asks"), "On it."]}
    return [Agent(brain(plan), name="stepper", tools=[again, asks])]


STORIES = (
    Story(name="plain", busy=True, agents=talk, first=plain),
    Story(name="foreground", agents=workers, first=says("look")),
    Story(name="background", agents=workers, first=says("pay")),
    Story(name="in-turn", busy=True, agents=workers, first=says("both")),
    Story(name="detach", agents=workers, first=says("slow")),
    Story(name="three", fails=True, agents=workers, first=says("three")),
    Story(name="mixed", busy=True, agents=workers, first=says("mixed")),
    Story(name="queued", agents=workers, first=says("many"), settings={"limits": Limits(total=1)}),
    Story(name="steps", agents=steppers, first=says("again")),
    Story(name="on-crash-ask", agents=steppers, first=says("asks")),
)
