"""A process that dispatches, and is killed: `python -m tests.stores.dispatching URL`."""

import asyncio
import os
import signal
import sys

from sidetask import Agent, Runtime
from sidetask.core.jsons import Json
from sidetask.orchestration import as_agent
from sidetask.state import StateView
from sidetask.testing import ScriptedModel


async def quick(input: Json) -> Json:
    return input


async def long(input: Json, state: StateView) -> Json:
    state.set("half", input)
    await asyncio.sleep(0.3)  # what was handed over is stored by then
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


async def main(url: str) -> None:
    async with Runtime(store=url) as runtime:
        agent = Agent(ScriptedModel("Hello."), name="talker")
        chat = await runtime.open(agent, conversation_id="mine")
        async with runtime.dispatcher(1, conversation=chat) as agents:
            agents.dispatch("quick", as_agent(quick), input="quick")
            agents.dispatch("long", as_agent(long), input=5)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
