"""An app with tools that ask, take long and detach; also the text of one, for a process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from sidetask import Agent, RunContext, background, tool
from sidetask.core.events import Event, Lagged
from sidetask.models.scripted import ScriptedModel, call

KITCHEN = '''
"""An app with tools of a stranger."""

import asyncio
from pathlib import Path

from sidetask import Agent, RunContext, tool


@tool(approval="ask", detach_after=0.1)
async def bake(what: str) -> str:
    """Bake something, until a file of its name is there.

    Args:
        what: A cake.
    """
    while not Path(what).exists():
        await asyncio.sleep(0.05)
    return f"baked {what}"


@tool
async def stir(ctx: RunContext[object], seconds: float = 60) -> str:
    """Stir."""
    await ctx.progress(0.5, "stirring")
    await asyncio.sleep(seconds)
    return "stirred"


agent = Agent("you", tools=[bake, stir])
'''


@tool(approval="ask", detach_after=5)
async def bake(ctx: RunContext[object], what: str, seconds: float = 20) -> str:
    """Bake something, which takes a while."""
    await ctx.progress(0.5, "in the oven")
    await asyncio.sleep(seconds)
    return f"baked {what}"


@tool
async def stir(seconds: float = 60) -> str:
    """Stir."""
    await asyncio.sleep(seconds)
    return "stirred"


@tool
async def heat(ctx: RunContext[object]) -> str:
    """Heat the oven, if somebody agrees."""
    await ctx.request_approval("the oven is hot", degrees=300)
    return "hot"


agent = Agent("you", tools=[bake, stir, heat])


def hotel() -> Agent:
    """The user has a cook, who asks."""
    model = ScriptedModel(call("bake", what="cake", seconds=0), "It is baked.", loop=True)
    cook = Agent(model, name="cook", instructions="Cooks.", tools=[bake])
    return Agent("you", tools=[cook.as_tool(), cook.as_tool(name="later", route=background())])


async def heard(events: AsyncIterator[Event | Lagged], kind: type[Event]) -> None:
    """Wait until an event of this kind has come."""
    async with asyncio.timeout(60):
        async for event in events:
            if isinstance(event, kind):
                return


class Said:
    """Lines, one after the other."""

    def __init__(self, *lines: str) -> None:
        self._lines = iter(lines)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        for line in self._lines:
            return line
        raise StopAsyncIteration
