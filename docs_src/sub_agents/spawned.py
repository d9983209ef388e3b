"""A live sub-agent: a conversation below a conversation."""

import asyncio

import sidetask
from sidetask import Agent
from sidetask.core.budget import Budget
from sidetask.core.errors import BudgetExceededError
from sidetask.testing import ScriptedModel

boss = Agent(ScriptedModel("Thank you both."), name="boss", budget=Budget(steps=4))
helper = Agent(ScriptedModel("Three ideas.", "Two of them are new.", "More."), name="helper")


async def main() -> None:
    # region spawn
    async with sidetask.open(boss) as chat:
        child = await chat.spawn_subagent(helper, budget=Budget(steps=2))
        print(await child.ask("Any ideas?"))
        print(await child.ask("Are they new?"))
        try:
            await child.ask("More, please.")
        except BudgetExceededError as error:
            print(error)
        print(await chat.ask("We are done."))
    # endregion spawn


if __name__ == "__main__":
    asyncio.run(main())
