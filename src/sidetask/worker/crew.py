"""The jobs that a worker has, each from its claim to what is said of its end.

What is said is written until it is: a database that is away is waited for. Only who lost its lock
says nothing any more, for others do.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from sidetask.core.errors import (
    DuplicateTaskError,
    StoreError,
    StoreUnavailableError,
    UnknownToolError,
)
from sidetask.core.ids import TaskId
from sidetask.core.jsons import JsonObject
from sidetask.stores.queue import LOST, Queue, StoredJob
from sidetask.tasks.aio.spawn import spawn, stop
from sidetask.tasks.remote.values import order_from_json, outcome_to_json
from sidetask.tasks.values import ApprovalNeeded, Completed, Errored, Refused, ToolOutcome
from sidetask.worker.asks import Asks
from sidetask.worker.counters import Counters
from sidetask.worker.work import Bench, Notes, Work
from sidetask.worker.workshop import Workshop

T = TypeVar("T")

PAUSES = (0.1, 5.0)
"""Seconds between two tries of a database that is away, at first and at most."""
LATER = 1.0
"""Seconds until what cannot begin now is given back."""
_log = logging.getLogger(__name__)


class Crew:
    """Carries out what it is given."""

    def __init__(
        self,
        shop: Workshop,
        works: dict[TaskId, Work],
        asks: Asks,
        counters: Counters,
        stir: Callable[[], None],
    ) -> None:
        """`stir` is called when there may be room, or one job less."""
        self._shop = shop
        self._works = works
        self._asks = asks
        self._counters = counters
        self._stir = stir
        self._bench = Bench(shop, works)
        self._carrying: set[asyncio.Task[None]] = set()
        self.jobs: dict[str, Work] = {}
        """By job id."""
        self.is_lost = False
        """Others may have its jobs: it says nothing of them any more."""

    def begin(self, queue: Queue, me: str) -> Callable[[], None]:
        """Work for this queue, under this name. Returns what ends it."""
        self._queue, self._me = queue, me
        self._notes = Notes(queue, me, self._works)
        self._asks.begin(self._shop)
        self._asks.room_is_free = self._stir
        return self._shop.tap(self._notes.hear)

    @property
    def room_taken(self) -> int:
        """By jobs that are at work, or about to be."""
        return self._shop.taken + sum(work.task is None for work in self.jobs.values())

    @property
    def waiting(self) -> int:
        """How many wait for a person."""
        return sum(work.waits for work in tuple(self.jobs.values()))  # other threads ask, too

    def take(self, job: StoredJob) -> None:
        """Carry a job out that was claimed."""
        self._counters.claims += 1
        self.jobs[job.id] = work = Work(job, asyncio.get_running_loop().time())
        self._carrying.add(spawn(self._carry(work), name=f"job {job.id}", done=self._carried))

    def leave(self, reason: str) -> None:
        """Cut off all that runs."""
        for work in tuple(self.jobs.values()):
            work.leave(reason)

    async def cut_off(self, reason: str, within: float) -> None:
        """Cut off all that runs, and leave it to others, or to nobody: what has not stopped within
        so many seconds, too."""
        self.leave(reason)
        left = tuple(self.jobs.values())
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=within)
        await stop(self._carrying, within=1.0)
        for work in left:
            with suppress(StoreError):
                if how := await self._give_up(work):
                    self._counters.ends[how] += 1

    def _carried(self, task: asyncio.Task[None]) -> None:
        self._carrying.discard(task)
        self._stir()

    async def _carry(self, work: Work) -> None:
        job = work.job
        try:
            known = self._shop.known.get(job.key)
            if known is None:
                raise UnknownToolError(job.key, self._shop.known)
            try:
                order = order_from_json(job.data)
                outcome = await self._bench.carry_out(work, order, known)
            except (StoreUnavailableError, DuplicateTaskError) as error:
                _log.warning("%s cannot begin now: %s", job.id, error)
                await asyncio.sleep(LATER)
                work.leave(str(error))
                outcome = None
            await self._end(work, outcome)
        except Exception as error:  # noqa: BLE001 - the one boundary: what cannot even begin blocks nobody
            _log.exception("%s cannot be carried out", job.id)
            await self._park(work, f"{type(error).__name__}: {error}")
        finally:
            del self.jobs[job.id]
            self._asks.forget(job.id)
            self._counters.busy += asyncio.get_running_loop().time() - work.began

    async def _end(self, work: Work, outcome: ToolOutcome | None) -> None:
        """Say what became of it."""
        job = work.job
        self._notes.flush(work)
        if outcome is not None:
            if await self._finish(job, outcome):
                self._counters.ends[_word(outcome)] += 1
                return
        elif how := await self._insist(lambda: self._give_up(work)):
            self._counters.ends[how] += 1
            return
        self._counters.ends["lost"] += 1

    async def _give_up(self, work: Work) -> str | None:
        """Leave a job to others; or to nobody, if it may not begin again. Returns how that is
        counted; None: it is over, or somebody else's already."""
        job_id, me = work.job.id, self._me
        if self.is_lost:
            return None
        if work.may_begin_again:
            return "handed_back" if await self._queue.hand_back(me, [job_id]) else None
        return "lost" if await self._queue.finish(job_id, me, LOST) else None

    async def _finish(self, job: StoredJob, outcome: ToolOutcome) -> bool:
        result = outcome_to_json(outcome)
        try:
            return await self._insist(lambda: self._end_as(job, result)) or False
        except StoreError as error:
            _log.warning("the outcome of %s is not kept: %s", job.id, error)
            told = outcome_to_json(
                Errored(f"the result cannot be stored: {error}", type(error).__name__)
            )
            return await self._insist(lambda: self._end_as(job, told)) or False

    async def _end_as(self, job: StoredJob, result: JsonObject) -> bool:
        return await self._queue.finish(job.id, self._me, result)

    async def _park(self, work: Work, why: str) -> None:
        """Nobody runs it before a person has looked."""
        job = work.job
        if await self._insist(lambda: self._queue.park(job.id, self._me, why)):
            self._counters.parked += 1

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T | None:
        """Write, and wait for a database that is away. None: it is nobody's business any more."""
        pause = PAUSES[0]
        while not self.is_lost:
            try:
                return await write()
            except StoreUnavailableError as error:
                _log.warning("%s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
        return None


def _word(outcome: ToolOutcome) -> str:
    """An end, as it is counted."""
    match outcome:
        case Completed():
            return "succeeded"
        case ApprovalNeeded():
            return "asked"
        case Refused():
            return "denied"
        case Errored(error_type="TaskCancelled"):
            return "cancelled"
        case Errored(error_type="TaskTimedOut"):
            return "timed_out"
        case _:
            return "failed"
