"""Letting go of a conversation, and taking it up again."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from sidetask import Agent, RunContext, Runtime, tool
from sidetask.testing import ScriptedModel, call


@tool
async def remember(ctx: RunContext[None], name: str) -> str:
    """Remember the user's name."""
    ctx.state.set("name", name)
    return "noted"


model = ScriptedModel(call("remember", name="Ana"), "Hello, Ana.", "You are Ana.")
agent = Agent(model, name="host", tools=[remember])


async def main() -> None:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'chats.db'}"
        # region first
        async with Runtime(agents=[agent], store=url) as runtime:
            chat = await runtime.open("host", user="u42", conversation_id="front-desk")
            print(await chat.ask("I am Ana."))
            await chat.disconnect()
        # endregion first
        # region second
        async with (
            Runtime(agents=[agent], store=url) as runtime,  # a year later, elsewhere
            runtime.resume("front-desk") as chat,
        ):
            print(await chat.ask("Who am I?"))
            print(chat.turn_count, "turns;", chat.state["name"], "is", chat.user)
        # endregion second


if __name__ == "__main__":
    asyncio.run(main())
