"""A task that starts tasks of its own."""

import asyncio

import sidetask
from sidetask import Agent, Limits, RunContext, tool
from sidetask.testing import ScriptedModel, call


# region tools
@tool
async def fetch(page: int) -> int:
    """The number of words on a page."""
    await asyncio.sleep(1)
    return page * 100


@tool(detach_after=5)
async def survey(ctx: RunContext[None], pages: int) -> int:
    """The number of words on many pages."""
    children = [ctx.spawn("fetch", page=page) for page in range(pages)]
    words = [await child for child in children]  # a child's value, or TaskFailedError
    return sum(int(str(count)) for count in words)


# endregion tools


model = ScriptedModel(call("survey", pages=3), "300 words.")


async def main() -> None:
    # One task at a time, and no deadlock: children run on the permit of their parent.
    limits = Limits(conversation=1)
    async with sidetask.open(Agent(model, tools=[survey, fetch]), limits=limits) as chat:
        print(await chat.ask("How many words are there?"))
        for task in chat.tasks:
            print(task.id, task.name, task.status, "child of", task.parent_id)


if __name__ == "__main__":
    asyncio.run(main())
