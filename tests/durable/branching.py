"""A tool whose branches are children, killed in the middle: `... URL ENGINE LOG LIFE`.

Its first life is killed when the parent and each child have finished a step, and what is to be
found of them is in the database.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sidetask import Agent, RunContext, Runtime, background, tool
from sidetask.client import Client
from sidetask.core.messages import NotificationMessage
from sidetask.core.routing import TaskPolicy
from sidetask.testing import ScriptedModel, call
from tests.durable.limits import HANG
from tests.durable.program import Log

RETRY = TaskPolicy(idempotent=True, on_crash="retry")
WORDS = ("one", "two", "three")


async def kept(url: str) -> None:
    """Wait until the database has the parent's row: an engine that keeps steps in tables of its own
    may have those before."""
    async with Client(url) as client:
        while not await client.tasks():  # noqa: ASYNC110 - a database sets no event
            await asyncio.sleep(0.01)


async def main(url: str, engine: Any, log: str, life: str) -> None:
    lines = Log(Path(log))
    holding = asyncio.Semaphore(0)

    async def note(word: str) -> str:
        lines.say("did", word)
        return word

    async def hold(word: str) -> str:
        if life == "first":
            holding.release()
            await asyncio.Event().wait()
        return await note(word)

    @tool(policy=RETRY)
    async def branch(ctx: RunContext[object], word: str) -> str:
        """Go one way."""
        lines.say("key", ctx.idempotency_key)
        await ctx.step("begin", note, f"{word}-begins")
        return await ctx.step("end", hold, f"{word}-ends")

    @tool(route=background(), policy=RETRY)
    async def trunk(ctx: RunContext[object]) -> str:
        """Go all ways at once."""
        await ctx.step("first", note, "first")
        ways = [ctx.spawn("branch", word=word) for word in WORDS]
        await ctx.step("meanwhile", note, "meanwhile")
        if life == "first":
            for _ in WORDS:
                await holding.acquire()
            await kept(url)
            os.kill(os.getpid(), signal.SIGKILL)
        return ", ".join([str(await way) for way in ways])

    script = (call("trunk"), "Begun.") if life == "first" else ("Told.",)
    agent = Agent(ScriptedModel(*script, loop=life != "first"), name="tree", tools=[trunk, branch])
    named = None if engine == "stored" else engine
    async with Runtime(store=url, engine=named, agents=[agent]) as runtime:
        if life == "first":
            chat = await runtime.open(agent, conversation_id="mine")
            await chat.ask("Go.")
        else:
            chat = await runtime.resume("mine")
        await chat.wait_for_idle(timeout=HANG)
        for message in chat.history():
            if isinstance(message, NotificationMessage):
                for item in message.items:
                    print(item.status, item.content)
        await chat.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
