"""A tool that outlives its turn: the first example of the README."""

import asyncio

import sidetask
from sidetask import Agent, tool
from sidetask.testing import ScriptedModel, call


@tool(detach_after=1)
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    await asyncio.sleep(3)
    return f"{site} has 12 pages"


script = call("crawl", site="a.com"), "I am reading it.", "The art of being found.", "12 pages!"
agent = Agent(ScriptedModel(*script), tools=[crawl])


async def main() -> None:
    async with sidetask.open(agent) as chat:
        print(await chat.ask("How big is a.com?"))
        print(await chat.ask("Meanwhile: what is SEO?"))
        async for turn in chat.turns(until="idle"):  # turns that nobody asked for
            print(f"[{turn.cause}]", await turn)


if __name__ == "__main__":
    asyncio.run(main())
