"""Work that is asked to stop: clean-up, a timeout, and code that will not stop."""

import asyncio

import sidetask
from sidetask import Agent, TaskPolicy, background, tool
from sidetask.testing import ScriptedModel, call, ignores_cancellation, reply


# region tools
@tool(route=background())
async def render(scene: str) -> str:
    """Render a scene."""
    try:
        await asyncio.sleep(60)
        return "rendered"
    finally:
        print(f"render: the temporary files of {scene} are removed")  # bounded by the grace


@tool(route=background(), policy=TaskPolicy(timeout=2))
async def ping(host: str) -> str:
    """Ping a host."""
    await asyncio.sleep(60)
    return "pong"


@tool(route=background(), policy=TaskPolicy(grace=1))
async def mine() -> str:
    """Work that swallows its cancellation."""
    await ignores_cancellation(5)
    return "too late: this is heard by nobody"


# endregion tools


model = ScriptedModel(
    reply(call("render", scene="sea"), call("ping", host="a.com"), call("mine")),
    "All three are running.",
    *["I see."] * 3,
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[render, ping, mine])) as chat:
        print(await chat.ask("Go."))
        await asyncio.sleep(3)
        for task in chat.tasks.running():
            print(task.name, await chat.tasks.cancel(task.id, "the user closed the page"))
        await chat.wait_for_idle()
        for task in chat.tasks:
            print(f"{task.name}: {task.status}. {task.error}")


if __name__ == "__main__":
    asyncio.run(main())
