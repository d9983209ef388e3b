"""A reader that is too slow is told what it missed, and keeps the ends."""

import asyncio

import sidetask
from sidetask import Agent, Event
from sidetask.testing import ScriptedModel, flood

model = ScriptedModel(flood(5000), "Short.")


async def main() -> None:
    async with sidetask.open(Agent(model)) as chat:
        events = chat.events()
        await chat.ask("Talk.")  # 5,000 deltas, and nobody reads
        await chat.ask("Briefly, please.")
        ends = 0
        async for event in events:
            if not isinstance(event, Event):
                print(event.missed > 3000, "ends among them:", event.ended)
            elif event.terminal:
                ends += 1
                print(type(event).__name__, event.turn_id)
                if ends == 2:
                    break


if __name__ == "__main__":
    asyncio.run(main())
