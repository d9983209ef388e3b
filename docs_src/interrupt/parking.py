"""After a Stop no turn begins by itself, until the user speaks again."""

import asyncio

import sidetask
from sidetask import Agent, background, tool
from sidetask.testing import ScriptedModel, call


@tool(route=background())
async def crawl(site: str) -> str:
    """Crawl."""
    await asyncio.sleep(2)
    return "12 pages"


model = ScriptedModel(call("crawl", site="a.com"), "Begun.", "a.com has 12 pages; and to you.")


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[crawl])) as chat:
        print(await chat.ask("Read a.com."))
        await chat.interrupt()  # no turn runs: this only asks for silence
        idle = await chat.wait_for_idle()
        print(chat.turn_count, "turn,", idle.undelivered, "result waits")
        print(await chat.ask("Good morning."))


if __name__ == "__main__":
    asyncio.run(main())
