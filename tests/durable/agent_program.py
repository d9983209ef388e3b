"""A conversation that is killed: `python -m tests.durable.agent_program URL LOG`.

Its first life asks the model for four calls in one reply. The last of them kills it when the first
is between two steps, the second has paid, and the third asks a person: all of it in the database.
Its second life takes the conversation up and ends when it is idle. It prints what the model was
told.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.client import Client
from sidetask.core.ids import ConversationId
from sidetask.core.messages import NotificationMessage, ToolMessage
from sidetask.core.routing import TaskPolicy
from sidetask.testing import ScriptedModel, call
from tests.durable.limits import HANG
from tests.durable.program import Log

LOG = Log(Path(sys.argv[2])) if len(sys.argv) > 2 else None
IS_FIRST = sys.argv[3:] == ["first"]
NAME = "mine"
under_way = asyncio.Semaphore(0)
"""Once for each call that has come as far as it shall."""


def say(*words: object) -> None:
    assert LOG is not None
    LOG.say(*words)


async def stay() -> None:
    """Go no further in the first life."""
    if IS_FIRST:
        under_way.release()
        await asyncio.Event().wait()


async def step(word: str) -> str:
    say("began", word)
    return word


@tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
async def report(ctx: RunContext[object]) -> str:
    """Write a report, in steps."""
    await ctx.step("read", step, "read")
    say("key", ctx.idempotency_key)
    await stay()
    return await ctx.step("write", step, "write")


@tool(route=background())
async def pay(ctx: RunContext[object]) -> str:
    """Pay, which must not happen twice."""
    say("paid", ctx.task_id)
    await stay()
    return "paid"


@tool(approval="ask")
async def send(ctx: RunContext[object]) -> str:
    """Send a mail, when a person agrees."""
    say("sent", ctx.task_id)
    return "sent"


@tool
async def die() -> str:
    """End the process, as it is."""
    for _ in ("report", "pay"):
        await under_way.acquire()
    async with Client(sys.argv[1]) as client:
        while not await client.approvals(status="open"):  # noqa: ASYNC110 - a database sets no event
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


CALLS = (call("report"), call("pay"), call("send"), call("die"))


async def main(url: str, _: str, life: str) -> None:
    script = (CALLS, "Never said.") if life == "first" else ("Told.",)
    model = ScriptedModel(*script, loop=life != "first")
    agent = Agent(model, name="clerk", tools=[report, pay, send, die])
    async with Runtime(store=url, agents=[agent], on_approval="host") as runtime:
        if life == "first":
            chat = await runtime.open(agent, conversation_id=NAME)
            await chat.ask("Do it all.")
        chat = await runtime.resume(ConversationId(NAME))
        while chat.approvals:
            for asked in chat.approvals:
                chat.approvals.approve(asked.id, by="ana")
            await asyncio.sleep(0.05)
        await chat.wait_for_idle(timeout=HANG)
        for message in chat.history():
            if isinstance(message, ToolMessage):
                for result in message.results:
                    print("answer", result.name, result.content)
            elif isinstance(message, NotificationMessage):
                for item in message.items:
                    print("told", item.name, item.status, item.content.splitlines()[0])
        await chat.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
