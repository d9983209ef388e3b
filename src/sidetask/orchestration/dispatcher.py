"""Agents beside everything: started at once, run within a cap, first come first served.

A dispatched run is a task of a manager: queued and running are its statuses, the cap is one of
the manager's caps, and this holds only what a manager does not know: the names.

What is full and what is a duplicate is decided before anything changes. A run that replaces
another, or pushes one out of the queue, is started first and the other stopped then, so that a
refused one has cost nobody anything.
"""

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Self, get_args

from sidetask.core.budget import Meter
from sidetask.core.errors import (
    ConfigurationError,
    DuplicateTaskError,
    InvalidInputError,
    ManagerClosedError,
    TooManyTasksError,
)
from sidetask.core.errors.checks import check_count, check_like
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import OnDuplicate, OnDuplicateLike, TaskPolicy
from sidetask.orchestration.base import Invocable
from sidetask.orchestration.invoker import Invoker, Launching, Run, Talk, Tasks
from sidetask.state.results import status_of
from sidetask.state.state import StateView
from sidetask.tasks.aio.sleepers import Sleepers, sleep_among, wake_all
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.handle import TaskHandle
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.parts.body import TaskBody, current_body
from sidetask.tasks.parts.permits import Limits

OnFull = Literal["reject", "drop_oldest"]
MAX_QUEUE = 1_000
"""Runs that may wait, besides those that run."""


class BackgroundAgentDispatcher:
    """Runs agents beside everything else, `max_concurrent` at once; up to `max_queue` wait.

    With a full queue, `dispatch` raises (`on_full="reject"`) or cancels the run that has waited
    longest (`"drop_oldest"`); `submit` waits for room. A name that is alive already is replaced,
    unless `on_duplicate` says `allow`, `reject` or `join`. As a context manager it waits at its
    end for what it has started, or cancels it when the block raised.

    Made by `runtime.dispatcher(...)`, or alone: then it has a task manager and a state of its own.

    Raises:
        ConfigurationError: No permits, a word that is none of these, or more at once than the
            runtime's `Limits` let run in one conversation.
    """

    def __init__(  # noqa: PLR0913 - each is one choice of the host
        self,
        max_concurrent: int,
        *,
        max_queue: int = MAX_QUEUE,
        on_full: OnFull = "reject",
        on_duplicate: OnDuplicateLike = OnDuplicate.REPLACE,
        state: StateView | None = None,
        tasks: Tasks = None,
        conversation: Talk | None = None,
        parent: TaskBody | None = None,
    ) -> None:
        """`tasks` is whose tasks the runs become, `conversation` the live agent that they are
        listed with, `parent` the task that waits for all of them."""
        _check(max_concurrent, max_queue, on_full)
        duplicates = TaskPolicy(on_duplicate=on_duplicate).on_duplicate
        self.max_concurrent = max_concurrent
        self.max_queue = max_queue
        self._on_full = on_full
        self._on_duplicate = OnDuplicate(duplicates)
        if conversation is not None:
            check_like("conversation", conversation, "AgentHandle", has="conversation_id")
        whose = conversation if tasks is None else tasks
        self._owns_tasks = whose is None
        self._invoker = _invoker(whose, max_concurrent + max_queue)
        limit = self._invoker.manager.limits.conversation
        if parent is None and max_concurrent > limit:
            raise ConfigurationError(
                f"max_concurrent={max_concurrent}, and only {limit} tasks of a conversation run "
                "at once: raise Limits(conversation=...)"
            )
        self._executor = f"dispatcher-{next(self._invoker.serial)}"
        self._invoker.manager.executors[self._executor] = self._invoker
        self._home = ConversationId(self._executor)
        """Where runs are listed that are of no conversation."""
        if conversation is not None:
            self._home = conversation.conversation_id
            state = conversation.state if state is None else state
        elif parent is not None:
            self._home = parent.record.launch.conversation_id
        self._parent = parent
        self._policy = TaskPolicy(cap=max_concurrent)
        self._usual = Launching(
            policy=self._policy,
            executor=self._executor,
            conversation_id=self._home,
            parent=parent,
        )
        self.state = self._invoker.make_state() if state is None else state
        """What a run gets that is given none."""
        self.new_meter: Callable[[], Meter] | None = None
        """Makes the meter of each run; None: runs have none of their own."""
        self.on_end: Callable[[Run], object] | None = None
        """Told of each end, when the run has settled in the state."""
        self._alive: dict[TaskId, Run] = {}
        self._named: dict[str, dict[TaskId, Run]] = {}
        self._turnstile = asyncio.Lock()
        self._sleepers: Sleepers = []
        self._closed = False

    # -- starting ------------------------------------------------------------------------------

    def dispatch(
        self,
        name: str,
        agent: Invocable | str,
        state: StateView | None = None,
        *,
        input: Json = None,
        timeout: float | None = None,
        keep_stale: bool = False,
    ) -> TaskHandle:
        """Start a run as soon as there is a permit, and return at once.

        `timeout` is seconds of running; `keep_stale` leaves the last result of the name there
        until there is a new one.

        Raises (and then nothing has changed):
            TooManyTasksError: The queue is full.
            DuplicateTaskError: The name is alive, and `on_duplicate` is `reject`.
            ManagerClosedError: The dispatcher, or its runtime, is closed.
            InvalidInputError: The name cannot be a run's, or the input is no JSON.
        """
        run = self._run(name, agent, state, input=input, keep_stale=keep_stale)
        return self._admit(run, self._twins(run), timeout)

    async def submit(
        self,
        name: str,
        agent: Invocable | str,
        state: StateView | None = None,
        *,
        input: Json = None,
        timeout: float | None = None,
        keep_stale: bool = False,
    ) -> TaskHandle:
        """`dispatch`, which waits for room in the queue instead of refusing. Those who wait get
        it in the order in which they came."""
        run = self._run(name, agent, state, input=input, keep_stale=keep_stale)
        async with self._turnstile:
            while not self._closed and self._lacks_room(self._twins(run)):
                await sleep_among(self._sleepers)
            return self._admit(run, self._twins(run), timeout)

    # -- looking -------------------------------------------------------------------------------

    @property
    def invoker(self) -> Invoker:
        return self._invoker

    @property
    def available_permits(self) -> int:
        """How many more could run now. Work that was abandoned has its permit until it stops."""
        taken = self._invoker.manager.permits.used(self._executor)
        return max(0, self.max_concurrent - taken)

    @property
    def active_count(self) -> int:
        """How many runs are alive, those that wait included."""
        return len(self._alive)

    def is_running(self, name: str) -> bool:
        """Whether a run of this name is at work; one that waits is not."""
        return any(run.handle.status is TaskStatus.RUNNING for run in self._of(name))

    def status(self, name: str) -> TaskStatus | None:
        """How far the latest run of this name is; None: there was none."""
        alive = list(self._of(name))
        return alive[-1].handle.status if alive else status_of(self.state, name)

    # -- stopping ------------------------------------------------------------------------------

    def cancel(self, name: str, reason: str | None = None) -> bool:
        """Ask the runs of this name to stop; False if none is alive. One that waits never
        starts."""
        asked = [run.handle.cancel(reason) for run in list(self._of(name))]
        return any(asked)

    def cancel_queued(self, reason: str | None = None) -> int:
        """Let nothing more begin of what has not; returns how many were asked to stop."""
        queued = [run for run in self._alive.values() if run.handle.status is TaskStatus.QUEUED]
        queued.sort(key=lambda run: not run.handle.waiting)  # or one takes another's permit
        return sum([run.handle.cancel(reason) for run in queued])

    def cancel_all(self, reason: str | None = None) -> int:
        """Ask all runs to stop; returns how many were asked."""
        asked = self.cancel_queued(reason)
        return asked + sum([run.handle.cancel(reason) for run in list(self._alive.values())])

    async def close(self, *, cancel: bool = False) -> None:
        """Take no more, and wait until all that was started has ended. Twice is fine.

        With `cancel`, or when the wait itself is cancelled, what is alive is stopped; what does
        not stop within its grace is abandoned.

        Raises:
            InvalidInputError: A run of it asks, which would wait for its own end.
        """
        body = current_body.get()
        if (
            body is not None
            and body.record.id in self._alive
            and body.owner is self._invoker.manager
        ):
            raise InvalidInputError("a run cannot wait for its own end: close from outside")
        self._closed = True
        wake_all(self._sleepers)
        if cancel:
            self.cancel_all("the dispatcher was closed")
        try:
            await self._quiet()
        except asyncio.CancelledError:
            self.cancel_all("the dispatcher was closed")
            await run_to_end(self._let_go(), within=self._policy.grace + 1)
            raise
        await self._let_go()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close(cancel=kind is not None)

    # -- inside --------------------------------------------------------------------------------

    def _run(
        self,
        name: str,
        agent: Invocable | str,
        state: StateView | None,
        *,
        input: Json,
        keep_stale: bool,
    ) -> Run:
        home = self.state if state is None else state
        meter = None if self.new_meter is None else self.new_meter()
        run = Run(
            name,
            self._invoker.find(agent),
            home,
            input=input,
            keep_stale=keep_stale,
            meter=meter,
        )
        run.on_end = self._left
        return run

    def _admit(self, run: Run, twins: list[Run], timeout: float | None) -> TaskHandle:
        """Start it, if there is room and the living runs of its name, the twins, allow it."""
        if self._closed:
            raise ManagerClosedError("dispatcher")
        if twins and self._on_duplicate is OnDuplicate.JOIN:
            return twins[-1].handle
        if twins and self._on_duplicate is OnDuplicate.REJECT:
            raise DuplicateTaskError(twins[-1].task_id, f"{run.name!r} is at work already")
        dropped = self._oldest_waiting() if self._lacks_room(twins) else None
        handle = self._start(run, timeout)
        for twin in twins:
            twin.handle.cancel("replaced by a newer run of its name")
        if dropped is not None:
            dropped.handle.cancel("the queue was full: it had waited longest")
        return handle

    def _start(self, run: Run, timeout: float | None) -> TaskHandle:
        home = self._invoker.homes.get(run.state.home, self._home)
        how = self._usual
        if timeout is not None or home != self._home:
            policy = TaskPolicy(cap=self.max_concurrent, timeout=timeout)
            how = Launching(
                policy=policy, executor=self._executor, conversation_id=home, parent=self._parent
            )
        handle = self._invoker.start(run, how)
        if run.resolution is None:  # an action that heard of the start may have stopped it
            self._alive[handle.id] = run
            self._named.setdefault(run.name, {})[handle.id] = run
        return handle

    def _left(self, run: Run) -> None:
        """A run has ended."""
        self._alive.pop(run.task_id, None)
        named = self._named.get(run.name)
        if named is not None:
            named.pop(run.task_id, None)
            if not named:
                del self._named[run.name]
        if self.on_end is not None:
            self.on_end(run)
        wake_all(self._sleepers)

    def _of(self, name: str) -> Iterator[Run]:
        return (run for run in self._named.get(name, {}).values() if run.resolution is None)

    def _twins(self, run: Run) -> list[Run]:
        """The living runs that write the same keys, if that matters here."""
        if self._on_duplicate is OnDuplicate.ALLOW or run.name not in self._named:
            return []
        return [
            each
            for each in self._of(run.name)
            if each.state.board is run.state.board and not each.handle.stopping
        ]

    def _lacks_room(self, twins: list[Run]) -> bool:
        """Whether a run needs a place that there is not; replacing one that waits takes its."""
        if twins and self._on_duplicate is not OnDuplicate.REPLACE:
            return False
        leaving = sum([twin.handle.waiting for twin in twins])
        return len(self._alive) - leaving >= self.max_concurrent + self.max_queue

    def _oldest_waiting(self) -> Run:
        """Whose place a new run may take.

        Raises:
            TooManyTasksError: Nobody's.
        """
        waiting = (run for run in self._alive.values() if run.handle.waiting)
        oldest = next(waiting, None) if self._on_full == "drop_oldest" else None
        if oldest is None:
            raise TooManyTasksError("too many runs wait for a permit", self.max_queue)
        return oldest

    async def _quiet(self) -> None:
        while self._alive:
            await sleep_among(self._sleepers)

    async def _let_go(self) -> None:
        await self._quiet()
        manager = self._invoker.manager
        manager.executors.pop(self._executor, None)
        if self._owns_tasks:
            await manager.handle().close()
        elif self._home == self._executor:
            await self._invoker.forget(self._home)


def _check(max_concurrent: int, max_queue: int, on_full: str) -> None:
    check_count("max_concurrent", max_concurrent)
    check_count("max_queue", max_queue, least=0)
    if on_full not in get_args(OnFull):
        raise ConfigurationError(f"on_full is one of {get_args(OnFull)}, not {on_full!r}")


def _invoker(tasks: Tasks, bound: int) -> Invoker:
    if tasks is None:
        limits = Limits(conversation=bound, queued=max(1, bound))
        return Invoker(AsyncTaskManager(limits=limits))
    return Invoker.of(tasks) if isinstance(tasks, AsyncTaskManager) else tasks.invoker
