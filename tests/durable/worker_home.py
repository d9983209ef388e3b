"""A live agent whose background calls workers carry out: `python -m tests.durable.worker_home URL`.

Its first life launches twenty; a later one takes them up. It prints what the model was told.
"""

import asyncio
import sys

from sidetask import Agent, Runtime
from sidetask.core.messages import NotificationMessage
from sidetask.testing import ScriptedModel, call
from tests.durable.limits import HANG
from tests.durable.worker_app import TOOLS

NAME = "mine"
COUNT = 20


def name_of(number: int) -> str:
    return "pay" if number % 5 == 0 else "work"


async def main(url: str, life: str) -> None:
    calls = tuple(call(name_of(number), number=number) for number in range(COUNT))
    said = [f"Told {number}." for number in range(2 * COUNT)]
    agent = Agent(
        ScriptedModel(*((calls,) if life == "first" else ()), *said), name="clerk", tools=TOOLS
    )
    async with Runtime(store=url, agents=[agent], max_auto_turns=1000) as runtime:
        if life == "first":
            chat = await runtime.open(agent, conversation_id=NAME)
            await chat.ask("Do it all.")
        else:
            chat = await runtime.resume(NAME)
        print("ready", flush=True)
        await chat.wait_for_idle(timeout=HANG)
        for message in chat.history():
            if isinstance(message, NotificationMessage):
                for item in message.items:
                    print(
                        "told", item.name, item.task_id, item.status, item.content.splitlines()[0]
                    )
        await chat.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
