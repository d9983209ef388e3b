"""A tool that tells how far it is, and a host that shows it."""

import asyncio

import sidetask
from sidetask import Agent, RunContext, background, tool
from sidetask.core.events import TaskProgressed
from sidetask.testing import ScriptedModel, call


# region tool
@tool(route=background())
async def crawl(ctx: RunContext[None], site: str) -> str:
    """Read all pages of a site."""
    for page in range(1, 5):
        await ctx.progress(page / 4, f"page {page} of 4")
        await asyncio.sleep(1)
    return "4 pages"


# endregion tool


model = ScriptedModel(
    call("crawl", site="a.com"),
    "I have begun.",
    call("read_task_progress", task_id="task-1"),
    "It is at page 2.",
    "It has 4 pages.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[crawl])) as chat:
        # region host
        async def show() -> None:
            async for event in chat.events():
                if isinstance(event, TaskProgressed):
                    print(event.task_id, event.fraction, event.note)

        shown = asyncio.create_task(show())
        # endregion host
        print(await chat.ask("Read a.com."))
        await asyncio.sleep(1.5)
        print([task.progress for task in chat.tasks.running()])
        print(await chat.ask("How far is it?"))  # the model asks by `read_task_progress`
        await chat.wait_for_idle()
    await shown  # the events end with the agent


if __name__ == "__main__":
    asyncio.run(main())
