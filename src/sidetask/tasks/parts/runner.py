"""Carrying tasks out: permits, jobs, timers, and the order in which things are told.

The order of an end, whatever it is: the status is entered, the result is put where it can be
taken, the event goes out, `ContinueRequested` follows, waiters wake, permits go back and the
next ones start. All of it in one tick, so nobody sees half of it.

An end that is asked for (cancel, timeout, denial) is only noted: `Ending`. From then on the
work is fenced, and the record ends when the work has stopped or its grace has run out. What
still runs then is *abandoned*: it keeps its permits until it really stops.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import field
from typing import Any, TypeAlias

from sidetask.core.events import TaskCancelled, TaskDenied, TaskTimedOut
from sidetask.core.ids import TaskId, value
from sidetask.core.messages import ToolCall
from sidetask.core.routing import OnCrash, Route
from sidetask.engines.base import Context, Engine, JobSpec
from sidetask.tasks.context import RunContext, StateView
from sidetask.tasks.parts.body import Desk, Spawn, TaskBody, carry_out_once, current_body
from sidetask.tasks.parts.delivery import Delivery
from sidetask.tasks.parts.ledger import Ledger
from sidetask.tasks.parts.permits import Permits
from sidetask.tasks.parts.records import Ending, Keeping, TaskRecord
from sidetask.tasks.values import (
    ApprovalNeeded,
    Completed,
    Errored,
    Refused,
    TaskLaunch,
    ToolOutcome,
)

Executor: TypeAlias = Callable[[ToolCall, RunContext[Any]], Awaitable[ToolOutcome]]


@value
class Scope:
    """What a conversation's tasks run with."""

    executors: Mapping[str, Executor] = field(default_factory=dict[str, Executor])
    deps: object = None
    state: StateView | None = None
    takes: Callable[[TaskRecord], bool] | None = None
    """Decides, when a task begins to run, whether another process carries it out, and sees to it
    that a restart would know what has begun; None: none does."""


FindWork: TypeAlias = Callable[[TaskLaunch, ToolCall], tuple[Executor, Scope]]
"""Says what carries a call of a launch out, and what it runs with."""


class Runner:
    """Runs records within their permits, and stops them."""

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        ledger: Ledger,
        permits: Permits,
        delivery: Delivery,
        engine: Engine,
        *,
        find_work: FindWork,
        spawn: Spawn,
        keeper: Keeping | None = None,
    ) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self._permits = permits
        self._delivery = delivery
        self._engine = engine
        self._find_work = find_work
        self._working: dict[str, TaskRecord] = {}
        self.desk = Desk(ledger, spawn)
        self.desk.lasting = keeper is not None
        engine.start(self._run, self._stopped)

    # -- starting ------------------------------------------------------------------------

    def launch(self, record: TaskRecord, route: Route) -> None:
        """Start an attempt as soon as its permits allow; the detach timer runs from now."""
        if record.ending is not None:  # who heard that it was there has stopped it already
            return
        if route.after is not None:
            self.arm(record, route)
        if self._permits.acquire(record):
            self._go(record)
        elif record.vars is None:
            record.vars = copy_context()

    def arm(self, record: TaskRecord, route: Route) -> None:
        """Let the attempt hold up its turn for as long as its route says."""
        if record.foreground and route.after is not None:
            record.detach_timer = _later(route.after, self.detach, record, "timer")

    def resume_over_cap(self, record: TaskRecord) -> None:
        """The work goes on already: count it, whatever the caps say."""
        if not record.holding:
            self._permits.force(record)
            self._begin(record)

    def pause(self, record: TaskRecord) -> None:
        """The task waits for an approval: no timer runs and no permit is held meanwhile."""
        _drop_timers(record)
        self._admit(self._permits.release(record))

    @contextmanager
    def lending(self, lender: TaskRecord, awaited: TaskRecord) -> Generator[None]:
        """While the one waits for the other, that may go on its permits."""
        self._admit(self._permits.lend(lender, awaited))
        try:
            yield
        finally:
            self._permits.stop_lending(lender, awaited)

    def release(self, record: TaskRecord) -> None:
        """The record has ended otherwise than through its work: give its permits back."""
        self._ended(record)

    def _go(self, record: TaskRecord) -> None:
        if record.topic is not None:  # the body waits for its approval, and gets it now
            assert record.job_id is not None
            self._begin(record)
            self._engine.signal(record.job_id, record.topic, True)
            return
        call = record.call
        number = record.attempt if record.life == 1 else f"{record.life}.{record.attempt}"
        record.job_id = job_id = f"{record.id}:{number}"
        self._working[job_id] = record
        if self._keeper is None:
            spec = JobSpec(job_id, record.id, record.attempt, call.name, call.arguments)
        else:
            spec = _lasting(job_id, record)
        if record.vars is None:
            self._engine.submit(spec)
        else:
            record.vars.run(self._engine.submit, spec)
            record.vars = None

    def _begin(self, record: TaskRecord) -> None:
        self._ledger.start(record)
        timeout = record.launch.policy.timeout
        if timeout is not None:
            ending = Ending(TaskTimedOut, "timeout")
            record.limit_timer = _later(timeout, self.stop, record, ending)

    def _admit(self, started: Iterable[TaskId]) -> None:
        for task_id in started:
            self._go(self._ledger.records.get(task_id))

    # -- the work ------------------------------------------------------------------------

    async def _run(self, spec: JobSpec, job: Context) -> None:
        """The body of every job."""
        record = self._working.get(spec.id)
        if record is None or record.ending is not None:
            return
        try:
            outcome = await self._carry_out(record, job)
        except asyncio.CancelledError:
            self._settle(record, record.ending or _cancelled_from_inside())
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the one boundary: a fault becomes an end
            outcome = Errored(f"{type(error).__name__}: {error}", type(error).__name__)
        self._settle(record, outcome)

    def _carry_out(self, record: TaskRecord, job: Context) -> Awaitable[ToolOutcome]:
        launch = record.launch
        record.body = body = TaskBody(self.desk, record, job)
        current_body.set(body)  # in the job's own context: nobody has to take it back
        self._begin(record)
        executor, scope = self._find_work(launch, record.call)
        body.shared = scope.state
        context = RunContext(  # by place: one is made for each call
            body,
            scope.deps,
            launch.conversation_id,
            record.id,
            launch.call.id,
            launch.turn_id,
            launch.run_id,
        )
        if self._keeper is not None:
            if record.kept and scope.takes is not None and scope.takes(record):
                return executor(record.call, context)
            if record.kept:
                return _begun(self._keeper, executor, record, context)
            is_spawned = launch.parent_id is not None and launch.turn_id is None
            if is_spawned and launch.executor is None and launch.policy.journal:
                return carry_out_once(executor, record.call, context)
        return executor(record.call, context)

    def _settle(self, record: TaskRecord, outcome: ToolOutcome | Ending) -> None:
        """The work of an attempt has stopped; what it brought is the end, unless one was asked."""
        if record.topic is not None:
            self._forsake(record, record.topic)
        if record.resolution is not None:  # its end was entered, and only the permits are left
            record.body = None
            self._admit(self._permits.release(record))
            return
        match record.ending or outcome:
            case Completed() as completed:
                self._delivery.succeeded(record, completed)
            case ApprovalNeeded(requests, final) if requests and self.desk.questions is not None:
                record.call = final or record.call
                record.body = record.job_id = record.remote = None
                record.vars = copy_context()  # not those of who approves
                self.desk.questions.suspend(record, requests)
                return
            case Errored() as errored:
                self._delivery.failed(record, errored)
            case Ending() as ending:
                self._delivery.stopped(record, ending)
            case Refused(reason):
                self._delivery.stopped(record, Ending(TaskDenied, reason))
            case ApprovalNeeded():
                self._delivery.failed(record, Errored("an approval is needed and cannot be asked"))
            case _:  # pyright: ignore[reportUnnecessaryComparison] - executors may not be typed
                error = f"the executor gave no outcome, but {outcome!r:.100}"
                self._delivery.failed(record, Errored(error, "TypeError"))
        record.body = None
        self._ended(record)

    def _forsake(self, record: TaskRecord, topic: str) -> None:
        """The body has stopped, and left something behind that waits for an answer."""
        record.topic = None
        if self.desk.questions is not None and record.ending is None:
            self.desk.questions.give_up(record, topic)
        if record.job_id is not None:
            self._engine.signal(record.job_id, topic, False)

    def _stopped(self, job_id: str) -> None:
        """The engine says that a job is over. Usually its record knows; else it ends here."""
        record = self._working.pop(job_id, None)
        if record is not None and record.job_id == job_id:
            record.job_id = None
            if record.resolution is None or record.body is not None:
                self._settle(record, Ending(TaskCancelled, "cancelled from outside"))

    # -- stopping ------------------------------------------------------------------------

    def stop(self, record: TaskRecord, ending: Ending, grace: float | None = None) -> bool:
        """Ask for an end. Token and job are cancelled in this tick; False if it is over."""
        if record.fenced:
            if grace is not None:
                self._hasten(record, grace)
            return False
        self._ledger.ask_end(record, ending)
        if record.token is not None:
            record.token.cancel(ending.reason)
        for child in tuple(record.children.values()) if record.children else ():
            self.stop(child, Ending(TaskCancelled, f"{record.id} was stopped"), grace)
        _drop_timers(record)
        if self.desk.questions is not None:
            self.desk.questions.withdraw(record)
        if record.body is None:  # nothing of it has begun, or it waits between two attempts
            if record.job_id is not None:
                self._engine.cancel(record.job_id)
            self._delivery.stopped(record, ending)
            self._ended(record)
            return True
        if ending.event is TaskDenied and record.topic is not None and record.job_id is not None:
            self._engine.signal(record.job_id, record.topic, False)
        elif record.job_id is not None:
            self._engine.cancel(record.job_id)
        wait = record.launch.policy.grace if grace is None else grace
        record.limit_timer = _later(wait, self._abandon, record)
        return True

    def abandoned(self) -> list[TaskId]:
        """The tasks that have ended while their work goes on."""
        return [r.id for r in self._working.values() if r.ended and r.body is not None]

    def _hasten(self, record: TaskRecord, grace: float) -> None:
        """It is stopping already: within this grace, if that is sooner."""
        timer = record.limit_timer
        if timer is not None and timer.when() > asyncio.get_running_loop().time() + grace:
            timer.cancel()
            record.limit_timer = _later(grace, self._abandon, record)

    def _abandon(self, record: TaskRecord) -> None:
        if record.ended or record.ending is None:
            return
        if record.job_id is not None and record.topic is not None:
            self._engine.cancel(record.job_id)  # it was only denied so far
        self._delivery.stopped(record, record.ending, abandoned=True)
        self._ended(record)

    def _ended(self, record: TaskRecord) -> None:
        _drop_timers(record)
        if record.past is not None and self.desk.questions is not None:
            self.desk.questions.withdraw(record)  # what its body has not asked again
        if record.joined is not None:
            for waiter in record.joined:
                if waiter.timer is not None:
                    waiter.timer.cancel()
        if record.token is not None:
            record.token.move_to(None)
        record.turn_token = None
        if record.children:
            for child in tuple(record.children.values()):
                self.stop(child, Ending(TaskCancelled, f"{record.id} ended"))
        if record.launch.parent_id is not None:
            parent = self._ledger.records.find(record.launch.parent_id)
            if parent is not None and parent.children is not None:
                parent.children.pop(record.id, None)
        if record.body is None:
            self._admit(self._permits.release(record))

    # -- detaching -------------------------------------------------------------------------

    def detach(self, record: TaskRecord, reason: str) -> bool:
        """The turn waits no longer; False if none does."""
        if record.fenced or not record.in_step:
            return False
        if record.detach_timer is not None:
            record.detach_timer.cancel()
            record.detach_timer = None
        if record.token is not None:
            record.token.move_to(None)
        record.turn_token = None
        started = self._permits.leave_step(record)
        self._ledger.detach(record, reason)
        self._delivery.detached(record)
        self._admit(started)
        return True


def _lasting(job_id: str, record: TaskRecord) -> JobSpec:
    """A job that may outlive this process."""
    call, launch = record.call, record.launch
    return JobSpec(
        job_id,
        record.id,
        record.attempt,
        call.name,
        call.arguments,
        launch.conversation_id,
        launch.policy.journal,
        record.past is not None or record.attempt > 1,
    )


async def _begun(
    keeper: Keeping, executor: Executor, record: TaskRecord, context: RunContext[Any]
) -> ToolOutcome:
    """What must not run twice runs only when a restart would know that it has begun."""
    if record.launch.policy.on_crash is not OnCrash.RETRY:
        await keeper.safe()
    return await executor(record.call, context)


def _later(seconds: float, function: Callable[..., object], *args: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, function, *args)


def _drop_timers(record: TaskRecord) -> None:
    if record.detach_timer is not None:
        record.detach_timer.cancel()
        record.detach_timer = None
    if record.limit_timer is not None:
        record.limit_timer.cancel()
        record.limit_timer = None


def _cancelled_from_inside() -> ToolOutcome | Ending:
    """Nobody asked this manager for it: the asyncio task was cancelled, or the tool raised it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return Ending(TaskCancelled, "cancelled from outside")
    return Errored("the tool was cancelled from inside: something it awaited was", "CancelledError")
