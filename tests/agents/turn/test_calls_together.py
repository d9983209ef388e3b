"""Calls of one reply: side by side, alone, and each answer in its place."""

import asyncio

from tests.runtime.harness import talking

from sidetask import TaskPolicy, tool
from sidetask.testing import call


async def test_exclusive_calls_run_alone_among_parallel_ones_and_answers_keep_their_order() -> None:
    running: set[str] = set()
    together: list[set[str]] = []

    async def work(name: str, seconds: float) -> str:
        running.add(name)
        together.append(set(running))
        await asyncio.sleep(seconds)
        running.remove(name)
        return name

    @tool
    async def read(name: str, seconds: float) -> str:
        """Read, beside others."""
        return await work(name, seconds)

    @tool(policy=TaskPolicy(exclusive=True))
    async def write(name: str, seconds: float) -> str:
        """Write, alone."""
        return await work(name, seconds)

    plan = ["r1", "r2", "w1", "r3", "w2", "r4", "r5"]
    calls = [
        call("write" if name[0] == "w" else "read", name=name, seconds=9 - at)
        for at, name in enumerate(plan)
    ]
    async with talking(calls, "done", tools=[read, write]) as talk:
        await talk.chat.ask("go")
        assert [answer.content for answer in talk.answers()] == plan
        assert all(len(names) == 1 for names in together if names & {"w1", "w2"})
        assert max(map(len, together)) > 1
