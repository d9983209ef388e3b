"""The events of a call that detaches, is talked over, and comes back."""

import asyncio

import sidetask
from sidetask import Agent, AgentHandle, tool
from sidetask.testing import ScriptedModel, call


@tool(detach_after=1)
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    await asyncio.sleep(3)
    return f"{site} has 12 pages"


model = ScriptedModel(call("crawl", site="a.com"), "Reading.", "SEO is ...", "12 pages.")
SHOWN = ("run_", "task_", "continue_", "notifications_")


async def print_facts(chat: AgentHandle) -> None:
    begun = asyncio.get_running_loop().time()
    async for event in chat.events(after=0):
        if isinstance(event, sidetask.Event) and event.kind.startswith(SHOWN):
            seconds = asyncio.get_running_loop().time() - begun
            print(f"{seconds:2.0f} s  {event.turn_id or '-':6}  {type(event).__name__}")


async def main() -> None:
    async with sidetask.open(Agent(model, tools=[crawl])) as chat:
        log = asyncio.create_task(print_facts(chat))
        await chat.ask("How big is a.com?")
        await chat.ask("Meanwhile: what is SEO?")
        await chat.wait_for_idle()
    await log  # the events end with the agent


if __name__ == "__main__":
    asyncio.run(main())
