"""One program for a laptop and for a cluster: what differs is a URL.

python program.py                               in memory
python program.py sqlite:///books.db            in a file: kill it, start it again
python program.py postgresql://host/database    with workers: see the guide
"""

import asyncio
import sys

from sidetask import Agent, RunContext, Runtime, TaskPolicy, background, tool
from sidetask.core.messages import NotificationMessage, UserMessage
from sidetask.models.base import ModelRequest
from sidetask.models.scripted import Reply
from sidetask.testing import ScriptedModel, call


# region tool
async def count(month: str, region: str) -> int:
    await asyncio.sleep(2)  # work
    return len(month) * len(region)


@tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
async def report(ctx: RunContext[None], month: str) -> str:
    """Write the report of a month."""
    north = await ctx.step("north", count, month, "north")
    await ctx.progress(0.5, "north is counted")
    south = await ctx.step("south", count, month, "south")
    return f"{month}: {north + south} sold"


# endregion tool


def reply(request: ModelRequest) -> Reply:
    """Stands for a model, that this runs without a key."""
    if isinstance(request.messages[-1], UserMessage):
        return [call("report", month=month) for month in ("May", "June", "July")]
    return "I see."


# region runtime
def runtime(store: str | None = None) -> Runtime:
    """Both sides make it: the program that talks, and `sidetask worker --app program:runtime`."""
    clerk = Agent(ScriptedModel(reply, loop=True), name="clerk", tools=[report])
    return Runtime(agents=[clerk], store=store)


# endregion runtime


# region main
async def main(store: str = "memory:") -> None:
    async with (
        runtime(store) as running,
        running.open("clerk", conversation_id="books") as chat,
    ):
        if not chat.history():  # else an earlier process was killed, and its work goes on
            await chat.ask("Report on May, June and July.")
        for task in chat.tasks:
            print(task.arguments, "on a worker" if task.job else "here")
        await chat.wait_for_idle()
        told = [each for each in chat.history() if isinstance(each, NotificationMessage)]
        for line in sorted(item.content for each in told for item in each.items):
            print(line)


# endregion main

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
