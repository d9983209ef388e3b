"""A model that goes round in circles, and a tool that may."""

import asyncio

import sidetask
from sidetask import Agent, TaskPolicy, tool
from sidetask.core.errors import DoomLoopError
from sidetask.core.events import DoomLoopDetected
from sidetask.core.messages import ToolMessage
from sidetask.testing import ScriptedModel, call


# region tools
@tool
async def search(text: str, pages: int = 1) -> str:
    """Search."""
    return "nothing found"


@tool(policy=TaskPolicy(repeatable=True))  # looking again is what it is for
async def is_deployed() -> bool:
    """Look whether it is deployed."""
    return False


# endregion tools

again = call("search", text="the answer", pages=2)
model = ScriptedModel(
    *[call("is_deployed")] * 5,
    "Not yet.",
    again,
    call("search", pages=2, text="the answer"),  # another order of keys is the same call
    again,
    again,
)


async def main() -> None:
    # region watching
    async with sidetask.open(Agent(model, tools=[search, is_deployed])) as chat:
        print(await chat.ask("Is it deployed?"))
        try:
            await chat.ask("What is the answer?")
        except DoomLoopError as error:
            print(error.names, "came again after the warning")
        async for event in chat.events(after=0, follow=False):
            if isinstance(event, DoomLoopDetected):
                print(event.names, "came", event.repeats, "times")
        answers = [message for message in chat.history() if isinstance(message, ToolMessage)]
        print(answers[-2].results[0].content)
    # endregion watching


if __name__ == "__main__":
    asyncio.run(main())
