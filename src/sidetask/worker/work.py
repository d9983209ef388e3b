"""Jobs at work: each is a task of the workshop's manager, from its order to its outcome."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sidetask.core.errors import StoreError
from sidetask.core.events import Event, TaskCancelled, TaskProgressed, TaskTimedOut
from sidetask.core.ids import TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnCrash, TaskPolicy, foreground
from sidetask.stores.queue import Queue, StoredJob
from sidetask.tasks.context import RunContext
from sidetask.tasks.handle import TaskHandle
from sidetask.tasks.parts.body import current_body
from sidetask.tasks.parts.records import Past, TaskRecord
from sidetask.tasks.remote.values import JobOrder, progress_to_json
from sidetask.tasks.values import (
    Completed,
    Errored,
    Progress,
    Refused,
    Resolution,
    TaskLaunch,
    ToolOutcome,
)
from sidetask.worker.workshop import EXECUTOR, PLENTY, Known, Workshop

PACE = 0.5
"""Seconds between two notes of a job's progress. The last one is always noted."""

AGAIN = 0.2
"""Seconds until a store that was away is asked again to take what was written to the state."""

LATE = 5.0
"""Seconds that a job may run beyond its timeout: its home cancels it in time, if it lives."""


@dataclass(slots=True, eq=False)
class Work:
    """A job that was claimed, as long as something of it is to be done here."""

    job: StoredJob
    began: float
    """Seconds on the loop's clock."""
    order: JobOrder | None = None
    """None: it was not read yet."""
    known: Known | None = None
    task: TaskHandle | None = None
    """None: nothing of its tool has begun."""
    is_entered: bool = False
    """The manager has its record."""
    outcome: ToolOutcome | None = None
    """What its tool said."""
    stopped: str | None = None
    """Why it is to be cancelled."""
    leaving: bool = False
    """It goes on elsewhere: being cut off here is no end."""
    may_begin_again: bool = True
    """Of one that leaves: to begin it anew does no harm."""

    @property
    def waits(self) -> bool:
        """For a person, and takes no room."""
        return self.task is not None and self.task.status is TaskStatus.AWAITING_APPROVAL

    def settle(self, record: TaskRecord) -> None:
        """Its record is there, and nothing of it has begun: make it what it is at home."""
        order = self.order
        if self.is_entered or order is None:
            return
        self.is_entered = True
        record.attempt = order.attempt
        record.approved = {(each.kind, each.digest) for each in order.approved} or None
        # Whether another worker has begun it is not known for sure: what is handed back in order
        # looks as if nobody had claimed it. So finished steps are always looked for.
        record.past = Past()

    def stop(self, reason: str) -> None:
        """Ask for its end."""
        self.stopped = self.stopped or reason
        if self.task is not None:
            self.task.cancel(reason)

    def leave(self, reason: str) -> None:
        """Cut it off here. It may go on elsewhere if its tool says that this does no harm, or if
        nothing of it has begun; and while it waits for a person, since it begins again when that
        has decided, as it would at home."""
        if self.leaving:
            return
        self.leaving = True
        self.may_begin_again = self.task is None or self.waits or self.job.on_crash == OnCrash.RETRY
        if self.task is not None:
            self.task.cancel(reason)


class Bench:
    """Carries jobs out in a workshop."""

    def __init__(self, shop: Workshop, works: dict[TaskId, Work]) -> None:
        self._shop = shop
        self._works = works
        """Those that are at work, by their task."""
        shop.manager.executors[EXECUTOR] = self._execute

    async def carry_out(self, work: Work, order: JobOrder, known: Known) -> ToolOutcome | None:
        """Run a job's tool to its end; None: it was to go on elsewhere before it began.

        Raises:
            DuplicateTaskError: The task is at work here already, for another attempt.
            StoreError: The conversation's state cannot be read.
            Exception: Its dependencies cannot be made.
        """
        work.order, work.known = order, known
        job, shop = work.job, self._shop
        async with shop.conversation(job.conversation_id, known.agent, order.user):
            if work.leaving:
                return None
            if work.stopped is not None:
                return Errored(f"The call was cancelled: {work.stopped}.", TaskCancelled.__name__)
            launch = TaskLaunch(
                call=order.call,
                conversation_id=job.conversation_id,
                run_id=order.run_id,
                route=foreground(),
                policy=_policy(order.policy),
                task_id=job.task_id,
                executor=EXECUTOR,
                metadata=order.metadata,
            )
            with self._listed(work):
                pending = shop.manager.start_nowait(launch)
                work.task = shop.manager.handle().task(pending.task_id)
                outcome = _outcome(work, await work.task.wait())
            while outcome is not None and not shop.hand_over(job.conversation_id):
                if work.leaving:
                    return None  # not all that it has done is kept
                await asyncio.sleep(AGAIN)
            return outcome

    @contextmanager
    def _listed(self, work: Work) -> Generator[None]:
        """From before its record is made, which is made what it is by looking here."""
        task_id = work.job.task_id
        before = self._works.get(task_id)
        self._works[task_id] = work
        try:
            yield
        finally:
            if before is not None:
                self._works[task_id] = before
            elif self._works.get(task_id) is work:
                del self._works[task_id]

    async def _execute(self, call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        """The executor of every job: what its tool says is kept for home, which decides what to
        make of it. That an approval is needed is no end here, but it is one of the job."""
        work, body = self._works[ctx.task_id], current_body.get()
        order, known = work.order, work.known
        assert body is not None
        assert order is not None
        assert known is not None
        context = RunContext(
            body,
            deps=ctx.deps,
            conversation_id=ctx.conversation_id,
            task_id=ctx.task_id,
            call_id=ctx.call_id,
            turn_id=order.turn_id,
            run_id=order.run_id,
        )
        work.outcome = await known.tool.execute(
            call, context, keep=self._shop.keep, exactly=order.exactly
        )
        return Completed(None, "")


class Notes:
    """How far jobs are, written to the queue at a bearable pace."""

    def __init__(self, queue: Queue, owner: str, works: dict[TaskId, Work]) -> None:
        self._queue = queue
        self._owner = owner
        self._works = works
        self._latest: dict[str, Progress] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def hear(self, event: Event) -> None:
        """Whatever happens in the workshop."""
        if not isinstance(event, TaskProgressed):
            return
        work = self._works.get(event.task_id)
        if work is None or work.leaving:
            return
        job_id = work.job.id
        self._latest[job_id] = Progress(event.fraction, event.note)
        if job_id not in self._timers:
            self._write(job_id)

    def flush(self, work: Work) -> None:
        """The job is over: write what it told last."""
        job_id = work.job.id
        timer = self._timers.pop(job_id, None)
        if timer is not None:
            timer.cancel()
        self._note(job_id)

    def _write(self, job_id: str) -> None:
        """Write now, and look again after a while."""
        self._timers.pop(job_id, None)
        if self._note(job_id):
            loop = asyncio.get_running_loop()
            self._timers[job_id] = loop.call_later(PACE, self._write, job_id)

    def _note(self, job_id: str) -> bool:
        latest = self._latest.pop(job_id, None)
        if latest is None:
            return False
        with suppress(StoreError):  # the next one will do
            self._queue.note(job_id, self._owner, progress_to_json(latest))
        return True


def _policy(policy: TaskPolicy) -> TaskPolicy:
    """How a call is carried out here that its home has admitted, and holds to its other axes."""
    timeout = None if policy.timeout is None else policy.timeout + LATE
    return TaskPolicy(timeout=timeout, grace=policy.grace, journal=policy.journal, cap=PLENTY)


def _outcome(work: Work, resolution: Resolution) -> ToolOutcome | None:
    """What home is told of an end; None: it is none."""
    match resolution.status:
        case TaskStatus.CANCELLED if work.leaving:
            return None
        case TaskStatus.SUCCEEDED if work.outcome is not None:
            return work.outcome
        case TaskStatus.TIMED_OUT if work.order is not None:
            text = f"The call timed out after {work.order.policy.timeout:g} s."
            return Errored(text, TaskTimedOut.__name__)
        case TaskStatus.DENIED:
            return Refused(resolution.content)
        case _:
            return Errored(resolution.content, resolution.error_type or "ToolError")
