"""Three routes for the same work, and what the model reads of each."""

import asyncio

import sidetask
from sidetask import Agent, background, tool
from sidetask.core.messages import NotificationMessage, ToolMessage
from sidetask.testing import ScriptedModel, call, reply


# region tools
@tool  # route=foreground() is the default
async def wait_for_it(seconds: float) -> str:
    """Work; the turn waits."""
    await asyncio.sleep(seconds)
    return "done"


@tool(route=background())
async def begin(seconds: float) -> str:
    """Work; the turn goes on at once."""
    await asyncio.sleep(seconds)
    return "done"


@tool(detach_after=5)  # the same as route=detach_after(5)
async def try_it(seconds: float) -> str:
    """Work; the turn waits for 5 seconds at most."""
    await asyncio.sleep(seconds)
    return "done"


# endregion tools

model = ScriptedModel(
    reply(
        call("wait_for_it", seconds=2),
        call("begin", seconds=2),
        call("try_it", seconds=2),
        call("try_it", seconds=9),
    ),
    "Three are done, one is running.",
    "Now all are done.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[wait_for_it, begin, try_it])) as chat:
        print(await chat.ask("Go."))
        await chat.wait_for_idle()
        for message in chat.history():
            if isinstance(message, ToolMessage):
                for result in message.results:
                    print(f"{result.call_id} {result.name}: {result.content}")
            elif isinstance(message, NotificationMessage):
                for item in message.items:
                    print(item.framed)


if __name__ == "__main__":
    asyncio.run(main())
