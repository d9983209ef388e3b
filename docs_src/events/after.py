"""A reader that comes back: the facts it missed, and then what happens."""

import asyncio

import sidetask
from sidetask import Agent, AgentHandle, Event
from sidetask.models.scripted import ScriptedModel

model = ScriptedModel("Hello.", "Good bye.")


# region follow
async def follow(chat: AgentHandle, after: int, until: int) -> int:
    """Read facts up to number `until`; returns where to go on from."""
    async for event in chat.events(after=after):
        if isinstance(event, Event) and not event.live:
            print(event.seq, type(event).__name__)
            after = event.seq
            if after >= until:
                break
    return after


# endregion follow


async def main() -> None:
    async with sidetask.open(Agent(model)) as chat:
        await chat.ask("Hello?")
        seen = await follow(chat, after=0, until=3)
        await chat.ask("Bye.")
        print("gone on from", seen)
        await follow(chat, after=seen, until=7)


if __name__ == "__main__":
    asyncio.run(main())
