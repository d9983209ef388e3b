"""A reader that comes back: the facts that it missed."""

import asyncio

import sidetask
from sidetask import Agent, AgentHandle, Event
from sidetask.testing import ScriptedModel

model = ScriptedModel("Hello.", "Good bye.")


# region follow
async def catch_up(chat: AgentHandle, after: int) -> int:
    """Show the facts after number `after`; returns where to go on from."""
    async for event in chat.events(after=after, follow=False):
        if isinstance(event, Event):
            print(event.seq, type(event).__name__)
            after = event.seq
    return after


# endregion follow


async def main() -> None:
    async with sidetask.open(Agent(model)) as chat:
        await chat.ask("Hello?")
        seen = await catch_up(chat, after=0)
        await chat.ask("Bye.")
        print("gone on from", seen)
        await catch_up(chat, after=seen)


if __name__ == "__main__":
    asyncio.run(main())
