"""A runtime for a test, which tells at its end what the test left behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sidetask.core.errors import SidetaskError
from sidetask.runtime.runtime import Runtime
from sidetask.tasks.aio.clock import SystemClock
from sidetask.testing.clock import VirtualLoop


class LeakError(SidetaskError):
    """A test ended while something of its runtime was still alive."""

    def __init__(self, agents: tuple[str, ...], tasks: tuple[str, ...]) -> None:
        super().__init__(agents, tasks)
        self.agents = agents
        """The conversations that were not shut down."""
        self.tasks = tasks
        """One line for each task that has not ended: its id, name, and status."""

    def __str__(self) -> str:
        left = [f"live agent: {agent}" for agent in self.agents]
        left += [f"living task: {task}" for task in self.tasks]
        return "\n  ".join(["left behind at the end of the test:", *left])


@asynccontextmanager
async def running_runtime(**settings: Any) -> AsyncGenerator[Runtime, None]:
    """Open a `Runtime` with these settings, on the virtual clock if the test runs on one.

    Raises:
        LeakError: At the end of the block, if an agent is live or a task has not ended. All is
            closed first, and a block that raises is not told.
    """
    loop = asyncio.get_running_loop()
    settings.setdefault("clock", loop.clock if isinstance(loop, VirtualLoop) else SystemClock())
    async with Runtime(**settings) as runtime:
        yield runtime
        live = [agent for agent in runtime.live_agents if not agent.kept]
        agents = tuple([str(agent.conversation_id) for agent in live])
        tasks = tuple(
            [f"{task.id} {task.name} {task.status}" for task in runtime.tasks.list_running()]
        )
    if agents or tasks:
        raise LeakError(agents, tasks)
