"""An agent with the tools of a server that is a process."""

import asyncio
import sys
from pathlib import Path

import sidetask
from sidetask import Agent
from sidetask.agents.policies import Policy, deny
from sidetask.core.events import TaskEnded, TaskProgressed
from sidetask.interop.mcp import McpServer
from sidetask.models.scripted import call
from sidetask.testing import ScriptedModel

SERVER = str(Path(__file__).with_name("weather_server.py"))

# region agent
weather = McpServer.stdio(sys.executable, [SERVER], name="weather", detach_after=5)


async def talk(model: ScriptedModel) -> None:
    policy = Policy(deny("recalibrate", reason="only people touch the stations"))
    agent = Agent(model, tools=[weather], policy=policy)  # the process starts when it is opened
    async with sidetask.open(agent) as chat:
        print("tools:", *[each.name for each in chat.available_tools[:3]])
        events = chat.events()
        print(await chat.ask("How is the weather?"))
    # endregion agent
    async for event in events:
        match event:
            case TaskProgressed():
                print(f"{event.name}: {event.note}, {event.fraction:.0%}")
            case TaskEnded():
                print(f"{event.name}: {event.kind}")
            case _:
                pass


def main() -> None:
    model = ScriptedModel(
        call("forecast", city="Rome"),
        call("survey", region="Lazio"),
        call("recalibrate", station=2),
        "There will be sun.",
    )
    asyncio.run(talk(model))


if __name__ == "__main__":
    main()
