"""Agents that wait until a test lets them go, on a manager whose events and leaks are seen."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from sidetask.core.errors import TaskFencedError
from sidetask.core.events import Event
from sidetask.core.jsons import Json
from sidetask.orchestration import BackgroundAgentDispatcher
from sidetask.orchestration.invoker import EXECUTOR
from sidetask.state import Provenance, State, StateView
from sidetask.stores.memory import MemoryStore
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import VirtualClock, ignores_cancellation

LIMIT = 10_000.0
"""Virtual seconds that a test waits for anything at most."""


async def settle() -> None:
    """Let everything run that can run now: virtual time moves only when nothing else does."""
    await asyncio.sleep(1e-6)


class Held:
    """An agent whose runs wait until each is let go, and that knows what it was given."""

    def __init__(self, name: str = "held", *, stubborn: bool = False) -> None:
        self.name = name
        self.begun: list[Json] = []
        self.most = 0
        """At once."""
        self._at_work = 0
        self._stubborn = stubborn
        self._gates: dict[Json, asyncio.Future[Json]] = {}
        self.late_errors: list[TaskFencedError] = []

    async def invoke(self, input: Json, state: StateView) -> Json:
        self.begun.append(input)
        self._at_work += 1
        self.most = max(self.most, self._at_work)
        try:
            if self._stubborn:
                await ignores_cancellation(100)
                try:
                    state.set("late", input)
                except TaskFencedError as error:
                    self.late_errors.append(error)
                return f"{input} late"
            return await self.gate(input)
        finally:
            self._at_work -= 1

    def gate(self, input: Json) -> "asyncio.Future[Json]":
        if input not in self._gates:
            self._gates[input] = asyncio.get_running_loop().create_future()
        return self._gates[input]

    def let_go(self, input: Json = None, value: Json = "done") -> None:
        self.gate(input).set_result(value)

    def fail(self, input: Json = None, error: Exception | None = None) -> None:
        self.gate(input).set_exception(error or ValueError("no luck"))


class Fleet:
    """A dispatcher on a manager of the test's clock."""

    def __init__(self, clock: VirtualClock, max_concurrent: int, **options: Any) -> None:
        self.events: list[Event] = []
        outbox = Outbox(MemoryStore(), clock)
        outbox.everything.tap(self._hear)
        self.told: Callable[[Event], object] | None = None
        """Called with each event as it goes out."""
        self.manager = AsyncTaskManager(outbox=outbox, limits=Limits(finished=100))
        self.state = State(now=clock.now)
        self.agents = BackgroundAgentDispatcher(
            max_concurrent, tasks=self.manager, state=self.state, **options
        )

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        if self.told is not None:
            self.told(event)

    def keys(self, name: str) -> dict[str, Json]:
        """What the run's keys hold now."""
        return {
            key.removeprefix(f"{name}:"): value
            for key, value in self.state.snapshot().items()
            if key.startswith(f"{name}:")
        }

    def origin(self, key: str) -> Provenance:
        found = self.state.provenance(key)
        assert found is not None
        return found

    def kinds(self, name: str) -> list[str]:
        told = [each for each in self.events if getattr(each, "name", None) == name]
        return [str(each.kind).removeprefix("task_") for each in told]


@asynccontextmanager
async def fleet(
    clock: VirtualClock, max_concurrent: int = 2, **options: Any
) -> AsyncGenerator[Fleet]:
    """At the end of the block everything is stopped, and has left nothing behind."""
    async with asyncio.timeout(LIMIT):
        made = Fleet(clock, max_concurrent, **options)
        try:
            yield made
        finally:
            await made.agents.close(cancel=True)
            await settle()
        assert made.agents.active_count == 0
        assert made.agents.invoker.runs == {}
        assert list(made.manager.executors) == [EXECUTOR]  # no dispatcher is left
        assert not cast("Any", made.agents)._named
        await asyncio.sleep(200)  # whoever ignores cancellation has had his time
        assert made.agents.available_permits == made.agents.max_concurrent
        await made.manager.handle().close()
