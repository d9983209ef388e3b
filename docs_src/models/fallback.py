"""A chain of models: the second is asked when the first cannot answer now."""

import asyncio

import sidetask
from sidetask import Agent
from sidetask.core.errors import RateLimitedError
from sidetask.models.fallback import FallbackModel
from sidetask.testing import ScriptedModel

large = ScriptedModel(RateLimitedError("large: too many requests", 30), "I am back.", name="large")
small = ScriptedModel("The small one speaking.", "Still the small one.", name="small")


async def main() -> None:
    # region chain
    model = FallbackModel(large, small, patience=20)
    async with sidetask.open(Agent(model)) as chat:
        print(await chat.ask("Who is there?"))
        print(await chat.ask("And now?"))
        await asyncio.sleep(30)  # what the provider asked for
        print(await chat.ask("And now?"))
    # endregion chain


if __name__ == "__main__":
    asyncio.run(main())
