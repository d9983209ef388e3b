"""A process that dispatches, and is killed: `python -m tests.stores.dispatching URL`."""

import asyncio
import os
import signal
import sys

from sidetask import Agent, AgentHandle, Runtime
from sidetask.core.jsons import Json
from sidetask.orchestration import as_agent
from sidetask.state import StateView
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.testing import ScriptedModel

stores: list[Store] = []
chats: list[AgentHandle] = []
"""Those of this process: one of each."""


async def quick(input: Json) -> Json:
    return input


async def long(input: Json, state: StateView) -> Json:
    state.set("half", input)
    while chats[0].state.get("quick:status") != "succeeded":  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await stores[0].stored()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


async def main(url: str) -> None:
    stores.append(open_store(url))
    async with Runtime(store=stores[0]) as runtime:
        agent = Agent(ScriptedModel("Hello."), name="talker")
        chat = await runtime.open(agent, conversation_id="mine")
        chats.append(chat)
        async with runtime.dispatcher(1, conversation=chat) as agents:
            agents.dispatch("quick", as_agent(quick), input="quick")
            agents.dispatch("long", as_agent(long), input=5)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
