"""The events of all conversations of a runtime, for a log or a dashboard."""

import asyncio

from sidetask import Agent, Event, Runtime, tool
from sidetask.core.events import TaskEnded
from sidetask.testing import ScriptedModel, call


@tool
async def look(thing: str) -> str:
    """Look at a thing."""
    await asyncio.sleep(1)
    return "it is blue"


def agent(name: str, thing: str) -> Agent:
    model = ScriptedModel(call("look", thing=thing), f"The {thing} is blue.")
    return Agent(model, name=name, tools=[look])


async def main() -> None:
    async with Runtime() as runtime:
        # region subscribe
        events = runtime.tasks.subscribe()

        async def log() -> None:
            async for event in events:
                if isinstance(event, TaskEnded):
                    print("log:", event.conversation_id, event.task_id, event.kind)
                elif not isinstance(event, Event):
                    print("missed", event.missed)  # Lagged: we were too slow

        # endregion subscribe
        logging = asyncio.create_task(log())
        async with (
            runtime.open(agent("sky", "sky"), conversation_id="one") as one,
            runtime.open(agent("sea", "sea"), conversation_id="two") as two,
        ):
            print(await one.ask("Which colour?"))
            print(await two.ask("Which colour?"))
    await logging  # the events end with the runtime


if __name__ == "__main__":
    asyncio.run(main())
