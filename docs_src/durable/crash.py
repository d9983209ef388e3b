"""What a restart does with background work: by steps, and by what each tool says."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from sidetask import Agent, RunContext, Runtime, TaskPolicy, background, tool
from sidetask.core.messages import NotificationMessage
from sidetask.testing import ScriptedModel, call

fetched = asyncio.Event()
model = ScriptedModel((call("report", month="May"), call("pay", amount=5)), "Begun.", "I see.")


# region tools
async def fetch(month: str) -> list[int]:
    print("fetching", month)
    return [3, 4]


@tool(route=background(), policy=TaskPolicy(idempotent=True, on_crash="retry"))
async def report(ctx: RunContext[None], month: str) -> str:
    """Write the report of a month."""
    numbers = await ctx.step("fetch", fetch, month)
    fetched.set()
    await asyncio.sleep(0.2)  # the process ends here, the first time
    return f"{month}: {sum(numbers)} sold"


@tool(route=background())
async def pay(amount: int) -> str:
    """Pay a bill."""
    print("paying", amount)
    await asyncio.sleep(0.2)
    return "paid"


# endregion tools

agent = Agent(model, name="clerk", tools=[report, pay])


async def first_life(url: str) -> None:
    async with Runtime(agents=[agent], store=url) as runtime:
        chat = await runtime.open("clerk", conversation_id="books")
        print(await chat.ask("Report on May, and pay 5."))
        await fetched.wait()
        await chat.disconnect()  # for the tasks it is as if the process had been killed


async def second_life(url: str) -> None:
    # region second
    async with (
        Runtime(agents=[agent], store=url) as runtime,
        runtime.resume("books") as chat,
    ):
        await chat.wait_for_idle()
        for message in chat.history():
            if isinstance(message, NotificationMessage):
                for item in message.items:
                    unknown = "its outcome is unknown" in item.content
                    print(item.name, item.status, "(nobody knows)" if unknown else item.content)
    # endregion second


async def main() -> None:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'books.db'}"
        await first_life(url)
        await second_life(url)


if __name__ == "__main__":
    asyncio.run(main())
