"""Fifty agents on one API key, and a provider that says *too many*. Runs on a virtual clock."""

import asyncio

from sidetask import Agent
from sidetask.core.errors import RateLimitedError
from sidetask.testing import ScriptedModel, running_runtime

model = ScriptedModel(
    RateLimitedError("too many requests", retry_after=30), *["A summary."] * 60, name="acme"
)


async def main() -> None:
    started = asyncio.get_running_loop().time()
    async with running_runtime() as runtime:
        # region crowd
        agents = [await runtime.open(Agent(model)) for _ in range(50)]
        first = await agents[0].chat("Summarise page 0.")
        await asyncio.sleep(1)  # the provider refuses it: come back in 30 s
        for page, agent in enumerate(agents[1:], 1):
            await agent.send(f"Summarise page {page}.")
        await asyncio.sleep(1)
        [gate] = runtime.quota.status()
        print(f"{gate.waiting} calls wait, and {model.calls} was sent")
        print(await first)
        for agent in agents:
            await agent.wait_for_idle()
        # endregion crowd
        for agent in agents:
            await agent.shutdown()
    seconds = asyncio.get_running_loop().time() - started
    print(f"{model.calls} calls sent, all done after {seconds:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
