"""A user's Stop ends the turn and what it waits for. What is in the background lives."""

import asyncio

import sidetask
from sidetask import Agent, TaskPolicy, background, tool
from sidetask.core.messages import ToolMessage
from sidetask.testing import ScriptedModel, call, reply


# region tools
@tool
async def search(query: str) -> str:
    """Search; the turn waits."""
    await asyncio.sleep(60)
    return "found"


@tool(policy=TaskPolicy(on_interrupt="keep"))
async def upload(path: str) -> str:
    """Upload; the turn waits, and a Stop sends it to the background."""
    await asyncio.sleep(3)
    return "uploaded"


@tool(route=background())
async def crawl(site: str) -> str:
    """Crawl in the background."""
    await asyncio.sleep(2)
    return "12 pages"


# endregion tools

model = ScriptedModel(
    reply(call("search", query="SEO"), call("upload", path="a.zip"), call("crawl", site="a.com")),
    "I stopped searching. Crawl and upload are done.",
)


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[search, upload, crawl])) as chat:
        # region stop
        response = await chat.chat("Go.")
        await asyncio.sleep(1)
        await chat.interrupt()
        # endregion stop
        print("the turn:", response.status)
        for message in chat.history():
            if isinstance(message, ToolMessage):
                for result in message.results:
                    print(f"{result.name}: {result.content}")
        await chat.wait_for_idle()
        print("turns after the work has ended:", chat.turn_count)
        print(await chat.ask("What came of it?"))


if __name__ == "__main__":
    asyncio.run(main())
