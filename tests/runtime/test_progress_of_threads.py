"""A synchronous tool tells how far it is from its thread."""

import sidetask
from sidetask import Agent, RunContext, tool
from sidetask.core.events import TaskProgressed
from sidetask.testing import ScriptedModel, call


@tool
def count(ctx: RunContext[None]) -> str:
    """Count to two."""
    ctx.progress_nowait(0.5, "one")
    ctx.progress_nowait(1.0, "two")
    return "counted"


async def test_progress_from_a_thread_is_told_in_order() -> None:
    async with sidetask.open(Agent(ScriptedModel(call("count"), "done"), tools=[count])) as chat:
        response = await chat.chat("count")
        told = [(e.fraction, e.note) async for e in response if isinstance(e, TaskProgressed)]
    assert told == [(0.5, "one"), (1.0, "two")]
