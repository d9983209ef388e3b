"""A process that talks, and is killed in the middle: `python -m tests.runtime.live.dying URL`."""

import asyncio
import os
import signal
import sys

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.testing import ScriptedModel, call

stores: list[Store] = []
runtimes: list[Runtime] = []
"""Those of this process: one of each."""


@tool
async def note(ctx: RunContext[object], key: str) -> str:
    """Write a value."""
    ctx.state.set(key, "noted")
    return "noted"


@tool(route=background())
async def quick() -> str:
    """Be done at once."""
    return "quick is done"


@tool
async def die(ctx: RunContext[object]) -> str:
    """End the process, as it is."""
    ctx.state.set("last", "words")
    [runtime] = runtimes
    while not any(each.name == "quick" for each in runtime.tasks.list_completed()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # it ends when it is stored that it began
    await stores[0].stored()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


SCRIPT = (call("note", key="k"), "Noted.", (call("quick"), call("die")))


async def main(url: str) -> None:
    stores.append(open_store(url))
    agent = Agent(ScriptedModel(*SCRIPT), name="mortal", tools=[note, quick, die])
    async with Runtime(store=stores[0]) as runtime:
        runtimes.append(runtime)
        chat = await runtime.open(agent, conversation_id="mine", user="ana")
        chat.state.set("user:name", "Ana")
        await chat.ask("note it")
        await chat.ask("and now?")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
