"""Agents dispatched beside everything: keys and provenance of each run are written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sidetask.orchestration import BackgroundAgentDispatcher, as_agent

from ..base import DispatchAdapter

Job = Callable[[int], Awaitable[Any]]


def _agent_of(job: Job) -> Any:
    async def invoke(input: int) -> Any:
        return await job(input)

    return as_agent(invoke, name="job")


class Dispatch(DispatchAdapter):
    async def run(self, job: Job, n: int, budget: int, state: dict) -> None:
        """As many wait as a dispatcher lets wait; whoever dispatches waits for room."""
        agent = _agent_of(job)
        async with BackgroundAgentDispatcher(budget) as agents:
            for i in range(n):
                await agents.submit(f"job:{i}", agent, input=i)
        self._read(agents, n, state)

    async def pend(self, job: Job, n: int, budget: int, state: dict) -> Any:
        agent = _agent_of(job)
        agents = BackgroundAgentDispatcher(budget, max_queue=n)
        for i in range(n):
            agents.dispatch(f"job:{i}", agent, input=i)
        return agents, n, state

    async def drain(self, handle: Any) -> None:
        agents, n, state = handle
        await agents.close()
        self._read(agents, n, state)

    def _read(self, agents: BackgroundAgentDispatcher, n: int, state: dict) -> None:
        for i in range(n):
            state[i] = agents.state[f"job:{i}:result"]
