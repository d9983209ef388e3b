"""A conversation, seen and steered from another process through its store."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from sidetask import Agent, Runtime, background, tool
from sidetask.client import Client
from sidetask.core.errors import AlreadyDecidedError
from sidetask.testing import ScriptedModel, call


@tool(approval="ask", route=background())
async def pay(amount: int) -> str:
    """Pay a bill."""
    return f"{amount} paid"


agent = Agent(ScriptedModel(call("pay", amount=5), "Asked."), name="clerk", tools=[pay])


async def web_backend(url: str) -> None:
    # region client
    async with Client(url) as client:
        for chat in await client.conversations(user="u42"):
            print(chat.id, "with", chat.agent)
        [asked] = await client.approvals(status="open", user="u42")
        print("open:", asked.tool, dict(asked.arguments))
        await asked.approve(by="ana@corp", note="ok")
        try:
            await client.deny(asked.id, by="bob@corp")
        except AlreadyDecidedError as error:
            print(error.decision, "by", error.by)
    # endregion client


async def main() -> None:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bills.db'}"
        async with (
            Runtime(store=url, on_approval="host") as runtime,
            runtime.open(agent, user="u42", conversation_id="bills") as chat,
        ):
            await chat.ask("Pay 5.")
            [asked] = chat.approvals
            await web_backend(url)  # in truth another process
            print((await chat.tasks.wait(asked.task_id)).content)


if __name__ == "__main__":
    asyncio.run(main())
