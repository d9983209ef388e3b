"""Caps: how many tasks at once, in a step, of one tool, of one conversation."""

import asyncio

import sidetask
from sidetask import Agent, Limits, TaskPolicy, background, tool
from sidetask.testing import ScriptedModel, call, reply


# region cap
@tool(route=background(), policy=TaskPolicy(cap=2))
async def fetch(page: int) -> str:
    """Fetch a page; never more than two at once."""
    await asyncio.sleep(1)
    return f"page {page}"


limits = Limits(conversation=8, total=100)
# endregion cap

model = ScriptedModel(
    reply(*[call("fetch", page=page) for page in range(5)]),
    "Five fetches, two at once.",
    *["I see."] * 5,
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[fetch]), limits=limits) as chat:
        print(await chat.ask("Fetch five pages."))
        for second in range(3):
            await asyncio.sleep(0.5 if second == 0 else 1)
            print(*[task.status for task in chat.tasks])
        await chat.wait_for_idle()


if __name__ == "__main__":
    asyncio.run(main())
