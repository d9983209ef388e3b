"""A synchronous tool runs on a thread; a token tells it to stop."""

import asyncio
import threading
import time

import sidetask
from sidetask import Agent, RunContext, background, tool
from sidetask.testing import ScriptedModel, call


# region tool
@tool(route=background())
def checksum(ctx: RunContext[None], path: str) -> str:
    """Add up the bytes of a file."""
    total = 0
    for block in range(1000):
        if ctx.cancelled:  # safe from any thread; nothing can stop a thread from outside
            return f"stopped at block {block}"
        total += block
        time.sleep(0.0001)
    return f"{total} ({threading.current_thread().name})"


# endregion tool


model = ScriptedModel(call("checksum", path="disk.img"), "I have begun.", "Here it is.")


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[checksum])) as chat:
        print(await chat.ask("Check disk.img."))
        (task,) = chat.tasks.running()
        resolution = await chat.tasks.wait(task.id)
        print(resolution.status, resolution.content.split()[0])
        await chat.wait_for_idle()


if __name__ == "__main__":
    asyncio.run(main())
