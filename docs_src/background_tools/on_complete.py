"""Who is told of the end, and how loudly."""

import asyncio

import sidetask
from sidetask import Agent, TaskPolicy, background, tool
from sidetask.tasks.values import Resolution
from sidetask.testing import ScriptedModel, call, reply


# region tools
@tool(route=background())  # on_complete="continue": wakes an idle conversation
async def crawl() -> str:
    """Crawl."""
    await asyncio.sleep(1)
    return "crawled"


@tool(route=background(), on_complete="notify")  # waits for the next model call
async def index() -> str:
    """Index."""
    await asyncio.sleep(2)
    return "indexed"


@tool(route=background(), policy=TaskPolicy(delivery="manual"))  # the host takes it
async def export() -> str:
    """Export."""
    await asyncio.sleep(3)
    return "exported"


# endregion tools


model = ScriptedModel(
    reply(call("crawl"), call("index"), call("export")),
    "All three are running.",
    "It is crawled.",
    "And indexed.",
)


async def main() -> None:
    runtime = sidetask.Runtime()
    async with runtime, runtime.open(Agent(model, tools=[crawl, index, export])) as chat:
        print(await chat.ask("Go."))
        idle = await chat.wait_for_idle()
        print(f"idle; {idle.undelivered} results wait")
        async for turn in chat.turns(until="idle"):
            print(f"[{turn.cause}]", await turn)
        print(await chat.ask("What else is there?"))
        # region drain
        for item in runtime.tasks.drain_ready_items(chat.conversation_id):
            if isinstance(item, Resolution):
                print("for the host:", item.name, item.value)
        # endregion drain


if __name__ == "__main__":
    asyncio.run(main())
