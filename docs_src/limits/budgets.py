"""What may be spent: in a conversation, in one turn, in a family of agents."""

import asyncio

import sidetask
from sidetask import Agent, tool
from sidetask.agents.guards import Budget
from sidetask.core.errors import BudgetExceededError
from sidetask.testing import ScriptedModel, call, reply

reader = Agent(ScriptedModel("A report.", loop=True), name="reader")


# region budgets
@tool
async def read(page: int) -> str:
    """Let another agent read a page."""
    return str(await reader.run(f"Read page {page}."))  # spends what this turn may spend


model = ScriptedModel(
    reply(call("read", page=1), call("read", page=2), call("read", page=3)),
    "Two pages will do.",
    call("read", page=4),
    "never said",
)
agent = Agent(model, tools=[read], budget=Budget(tokens=2_000_000, usd=5.0))


async def main() -> None:
    async with sidetask.open(agent) as chat:
        print(await chat.ask("Read it.", budget=Budget(tool_calls=2, seconds=60)))
        try:
            print(await chat.ask("Go on.", budget=Budget(steps=2)))
        except BudgetExceededError as error:
            print(error)
        print(len(chat.history()), "messages, every call answered")


# endregion budgets


if __name__ == "__main__":
    asyncio.run(main())
