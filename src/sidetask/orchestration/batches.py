"""Many runs and their results: a dispatcher for the length of a block, with a budget.

The budget is soft: what runs goes on to its end, and nothing more begins. So runs do not see it.
Each spends on a meter of its own below the batch's tally, and the batch looks at the tally when a
run has ended, and when the budget's seconds are over.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sidetask.core.budget import Budget, Meter, ambient_meter
from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import TaskId
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.usage import Usage
from sidetask.orchestration.base import Invocable
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.invoker import Invoker, Run, Tasks, place
from sidetask.state.state import StateView
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.handle import TaskHandle

MAX_RUNS = 100_000
"""Runs of one batch that may be alive at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """How one run of a batch ended."""

    name: str
    task_id: TaskId
    status: TaskStatus
    value: Json
    """None unless it succeeded."""
    error: str | None
    """Why there is no value; None: there is one."""
    exception: Exception | None
    """What the agent raised."""
    usage: Usage
    duration: float
    """Seconds of running."""

    @property
    def cost(self) -> float:
        """US dollars."""
        return self.usage.usd


class Batch:
    """Runs agents within a cap and a budget. Made by `batch`, for an `async with`."""

    def __init__(
        self, cap: int, budget: Budget | None, state: StateView | None, tasks: Tasks
    ) -> None:
        invoker, parent = place(tasks)
        alone = tasks is None and parent is None
        self._dispatcher = BackgroundAgentDispatcher(
            cap,
            max_queue=MAX_RUNS,
            on_duplicate="reject",
            state=state,
            tasks=None if alone else invoker.manager,
            parent=parent,
        )
        self._dispatcher.new_meter = self._new_meter
        self._dispatcher.on_end = self._ended
        self._budget = budget
        self._tally = Meter(parent=ambient_meter.get())
        self._purse: Meter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over: str | None = None
        self._items: list[BatchItem] = []
        self._names: Counter[str] = Counter()
        self._given: set[str] = set()
        self._is_entered = False
        self._sleepers: Sleepers = []

    def dispatch(
        self,
        agent: Invocable | str,
        *,
        input: Json = None,
        name: str | None = None,
        timeout: float | None = None,
    ) -> TaskHandle:
        """Start a run as soon as the cap allows. Without a `name` it gets the agent's, and from
        the second on a number; no name that was given in this batch before.

        Raises:
            DuplicateTaskError: A run of this name is alive.
            ConfigurationError: Outside of its `async with`, nothing would wait for it.
            ManagerClosedError: The block was left.
            InvalidInputError: The name cannot be a run's, or the input is no JSON.
        """
        if not self._is_entered:
            raise ConfigurationError("a batch is a block: async with batch(...) as b")
        agent = self._dispatcher.invoker.find(agent)
        wanted = self._new_name(agent) if name is None else name
        handle = self._dispatcher.dispatch(wanted, agent, input=input, timeout=timeout)
        if name is not None:
            self._given.add(name)
        if self._over is not None:
            handle.cancel(self._over)
        return handle

    async def as_completed(self) -> AsyncIterator[BatchItem]:
        """Every run as it ends, also those that have: until none is alive."""
        seen = 0
        while True:
            while seen < len(self._items):
                seen += 1
                yield self._items[seen - 1]
            if not self._dispatcher.active_count:
                return
            await sleep_among(self._sleepers)

    # -- looking -------------------------------------------------------------------------------

    @property
    def invoker(self) -> Invoker:
        return self._dispatcher.invoker

    @property
    def results(self) -> list[BatchItem]:
        """Every run that has ended, however, in the order of their ends."""
        return list(self._items)

    @property
    def failed(self) -> list[BatchItem]:
        """Those of them that have no value: failed, cancelled, timed out, denied."""
        return [item for item in self._items if item.status is not TaskStatus.SUCCEEDED]

    @property
    def usage(self) -> Usage:
        """What all of it has consumed so far."""
        return self._tally.usage

    @property
    def state(self) -> StateView:
        """Where the results are: `b.state["review:main.py:result"]`."""
        return self._dispatcher.state

    @property
    def active_count(self) -> int:
        """How many runs are alive, those that wait included."""
        return self._dispatcher.active_count

    # -- the block -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._is_entered = True
        if self._budget is not None:
            loop = asyncio.get_running_loop()
            self._purse = Meter(self._budget, now=loop.time)
            if self._budget.seconds is not None:
                self._timer = loop.call_later(self._budget.seconds, self._check)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._dispatcher.close(cancel=kind is not None)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    # -- inside --------------------------------------------------------------------------------

    def _new_name(self, agent: Invocable) -> str:
        """The agent's, with a number if it was used: a result is not to be written over."""
        while True:
            self._names[agent.name] += 1
            number = self._names[agent.name]
            name = agent.name if number == 1 else f"{agent.name}-{number}"
            if name not in self._given:
                return name

    def _new_meter(self) -> Meter:
        return Meter(parent=self._tally)

    def _ended(self, run: Run) -> None:
        resolution, meter = run.resolution, run.meter
        assert resolution is not None
        assert meter is not None
        self._items.append(
            BatchItem(
                name=run.name,
                task_id=run.task_id,
                status=resolution.status,
                value=resolution.value,
                error=resolution.content if resolution.is_error else None,
                exception=run.error if resolution.status is TaskStatus.FAILED else None,
                usage=meter.usage,
                duration=resolution.duration,
            )
        )
        wake_all(self._sleepers)
        self._check()

    def _check(self) -> None:
        """Let nothing more begin once the budget is spent."""
        purse, tally = self._purse, self._tally
        if purse is None or self._over is not None:
            return
        purse.usage, purse.steps, purse.tool_calls = tally.usage, tally.steps, tally.tool_calls
        spent = purse.spent_out()
        if spent is not None:
            self._over = f"the batch's budget is spent ({spent})"
            self._dispatcher.cancel_queued(self._over)


def batch(
    cap: int,
    *,
    budget: Budget | None = None,
    state: StateView | None = None,
    tasks: Tasks = None,
) -> Batch:
    """Run many agents, `cap` at once, and get their results: `async with batch(cap=8) as b`.

    When the block is left, all of its runs have ended; if it raised, they were cancelled. At the
    end of the budget those that run go on to their end, and those that wait end as cancelled.

    `tasks` is whose tasks they become: a runtime, a live agent, a task manager. Without it, in the
    code of a task, they are children of that task, and else they have a manager of their own.

    Raises:
        ConfigurationError: The cap is none, or above the runtime's `Limits`.
    """
    return Batch(cap, budget, state, tasks)
