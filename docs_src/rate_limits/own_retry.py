"""A pace set ahead, and a host that retries by itself. Runs on a virtual clock."""

import asyncio

from sidetask import Agent, Limits
from sidetask.agents.quota import Quota
from sidetask.core.errors import RateLimitedError
from sidetask.testing import ScriptedModel, running_runtime

REFUSAL = RateLimitedError("too many requests", retry_after=30)


async def main() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    model = ScriptedModel(REFUSAL, "Here I am.", name="acme")
    # region host
    limits = Limits(rpm=500, tpm=200_000)  # for each key
    quota = Quota(max_retries=0)  # every refusal comes to you
    async with (
        running_runtime(quota=quota, limits=limits) as runtime,
        runtime.open(Agent(model)) as chat,
    ):
        try:
            await chat.ask("Are you there?")
        except RateLimitedError as error:
            print(f"refused for {error.retry_after:.0f} s")
        # Calls that you make yourself, with the same key, can wait at the same gate:
        ticket = await quota.wait(model.quota_key)
        print(f"open again after {loop.time() - began:.0f} s")
        quota.record_success(model.quota_key, ticket or 0)
        # endregion host
        print(await chat.ask("And now?"))


if __name__ == "__main__":
    asyncio.run(main())
