"""Stopping the background too."""

import asyncio

import sidetask
from sidetask import Agent, background, tool
from sidetask.testing import ScriptedModel, call


@tool(route=background())
async def crawl(site: str) -> str:
    """Crawl."""
    await asyncio.sleep(60)
    return "12 pages"


model = ScriptedModel(call("crawl", site="a.com"), "Begun.", "I was told to stop.")


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[crawl])) as chat:
        print(await chat.ask("Read a.com."))
        await chat.interrupt("all")
        print([f"{task.name} {task.status}" for task in chat.tasks])
        print(await chat.ask("What happened?"))


if __name__ == "__main__":
    asyncio.run(main())
