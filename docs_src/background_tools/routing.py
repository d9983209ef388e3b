"""The host decides how calls run, whatever the tools say."""

import asyncio

from sidetask import Agent, Route, Runtime, background, tool
from sidetask.core.messages import ToolCall
from sidetask.testing import ScriptedModel, call


@tool
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    await asyncio.sleep(5)
    return f"{site} has 12 pages"


# region routing
def routing(asked: ToolCall) -> Route | None:
    if asked.parsed().get("site") == "big.com":
        return background()
    return None  # as its tool says


# endregion routing

model = ScriptedModel(call("crawl", site="big.com"), "That takes a while.", "big.com has 12 pages.")


async def main() -> None:
    async with (
        Runtime(routing=routing) as runtime,
        runtime.open(Agent(model, tools=[crawl])) as chat,
    ):
        print(await chat.ask("How big is big.com?"))
        print(*[task.kind for task in chat.tasks])
        async for turn in chat.turns(until="idle"):
            print(await turn)


if __name__ == "__main__":
    asyncio.run(main())
