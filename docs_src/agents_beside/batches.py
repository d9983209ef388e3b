"""Many agents and their results, within a cap and a budget."""

import asyncio

from sidetask import Agent, Usage
from sidetask.core.jsons import Json
from sidetask.models.base import Finished
from sidetask.orchestration import Budget, as_agent, batch, call
from sidetask.state import StateView
from sidetask.testing import ScriptedModel, reply

FILES = {"main.py": "print(1)", "util.py": "def f(): ...", "old.py": "", "test.py": "assert True"}


def reviewer() -> Agent:
    answer = reply("Looks good.", Finished(usage=Usage(requests=1, usd=0.02)))
    return Agent(ScriptedModel(answer), instructions="Review this file.")


# region nested
async def review(file: str, state: StateView) -> Json:
    await asyncio.sleep(len(file))
    if not FILES[file]:
        raise ValueError(f"{file} is empty")
    return await call(f"{file}:words", reviewer(), state, input=FILES[file])  # on the same permit


# endregion nested


async def main() -> None:
    # region batch
    async with batch(cap=2, budget=Budget(usd=5, seconds=600)) as b:
        for file in FILES:
            b.dispatch(as_agent(review), input=file, name=f"review:{file}")
        async for done in b.as_completed():
            print(done.name, done.status, f"{done.cost:.2f} USD", done.value or done.error)
    print(len(b.results), len(b.failed), f"{b.usage.usd:.2f} USD")
    print(b.state["review:main.py:result"])
    # endregion batch

    # region budget
    async with batch(cap=1, budget=Budget(usd=0.02)) as b:
        for file in ("main.py", "util.py", "test.py"):
            b.dispatch(as_agent(review), input=file, name=file)
    for item in b.results:
        print(item.name, item.status, item.error or "")
    # endregion budget


if __name__ == "__main__":
    asyncio.run(main())
