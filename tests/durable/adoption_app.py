"""What workers run in `test_adoption`, and a home that is killed: `python -m ... URL`.

`STALL=1`: the model of this process never answers.
"""

import asyncio
import os
import sys

from sidetask import Agent, Runtime, TaskPolicy, background, tool
from sidetask.core.messages import NotificationMessage, UserMessage
from sidetask.models.base import ModelRequest
from sidetask.models.scripted import Reply
from sidetask.testing import ScriptedModel, call, stall

NAME = "chat"


@tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
async def fetch(seconds: float) -> str:
    """Fetch."""
    await asyncio.sleep(seconds)
    return "seven"


@tool(route=background(), approval="ask")
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def answer(request: ModelRequest) -> Reply:
    if os.environ.get("STALL"):
        return stall()
    last = request.messages[-1]
    match last:
        case UserMessage(text="Fetch."):
            return call("fetch", seconds=1.0)
        case UserMessage(text="Pay."):
            return call("pay", amount=5)
        case UserMessage():
            return f"You said: {last.text}"
        case NotificationMessage():
            return f"Told: {last.items[0].content}"
        case _:
            return "It is under way."


def make(store: str | None = None) -> Runtime:
    agent = Agent(ScriptedModel(answer, loop=True), name="clerk", tools=[fetch, pay])
    return Runtime(store=store, agents=[agent])


async def main(url: str) -> None:
    async with make(url) as runtime:
        chat = await runtime.open("clerk", conversation_id=NAME)
        print(await chat.ask("Fetch."), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
