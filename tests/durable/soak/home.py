"""The home of one round: `python -m tests.durable.soak.home URL RUN`.

Asks for all of it in a new conversation, or takes up the one that a killed process has left. It
says "ready" when the conversation is open, and "done" when nothing is left to do.
"""

import asyncio
import sys
from contextlib import suppress

from sidetask.core.errors import ConversationNotFoundError, ConversationTakenError
from sidetask.core.messages import UserMessage
from tests.durable.soak.app import make


async def main(url: str, run: str) -> None:
    async with make(url) as runtime:
        try:
            chat = await runtime.resume(run)
        except ConversationNotFoundError:
            chat = await runtime.open("clerk", conversation_id=run)
        print("ready", flush=True)
        if not any(isinstance(message, UserMessage) for message in chat.history()):
            await chat.ask(run)
        while chat.tasks.running():  # idle is also who waits for a person
            await chat.wait_for_idle()
            await asyncio.sleep(0.05)
        await chat.wait_for_idle()
        await chat.disconnect()
        print("done", flush=True)


if __name__ == "__main__":
    with suppress(ConversationTakenError):  # it was frozen: the next home goes on
        asyncio.run(main(*sys.argv[1:3]))
