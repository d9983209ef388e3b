"""Saying something while a turn runs: it joins before the next model call."""

import asyncio

import sidetask
from sidetask import Agent, tool
from sidetask.core.messages import UserMessage
from sidetask.testing import ScriptedModel, call


@tool
async def search(query: str) -> str:
    """Search."""
    await asyncio.sleep(2)
    return f"ten pages about {query}"


model = ScriptedModel(call("search", query="SEO"), "In English only: three pages.")


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[search])) as chat:
        response = await chat.chat("Search for SEO.")
        await asyncio.sleep(1)
        await chat.send("English pages only, please.")
        print(await response)
        said = [message.text for message in chat.history() if isinstance(message, UserMessage)]
        print(said, "in", chat.turn_count, "turn")


if __name__ == "__main__":
    asyncio.run(main())
