"""Who is who: every task's record, its status, and what is remembered of the ended ones.

Synchronous; of asyncio only the types of what a record holds for others. The table in
`core.lifecycle` says what may follow what. Here is the one door to it: a record is moved along
the table, and then its event goes out.
"""

from asyncio import TimerHandle
from collections import OrderedDict
from collections.abc import Iterator
from contextvars import Context as ContextVars
from dataclasses import dataclass
from itertools import count

from sidetask.core.errors import DuplicateTaskError, TaskNotFoundError
from sidetask.core.events import (
    TaskCancelled,
    TaskDenied,
    TaskDetached,
    TaskEvent,
    TaskProgressed,
    TaskQueued,
    TaskStarted,
    TaskTimedOut,
)
from sidetask.core.ids import CallId, ConversationId, TaskId, TurnId
from sidetask.core.lifecycle import BUSY, TERMINAL, TaskStatus, apply
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DeliveryMode, OnComplete, TaskKind
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.aio.sleepers import Sleepers
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.parts.permits import Limits, Ticket
from sidetask.tasks.values import Progress, Resolution, TaskLaunch


@dataclass(frozen=True, slots=True)
class Ending:
    """An end that was asked for and has not happened yet: the work is still stopping."""

    event: type[TaskCancelled | TaskTimedOut | TaskDenied]
    reason: str


@dataclass(slots=True)
class Waiter:
    """A call that waits for a task, or has its receipt."""

    call_id: CallId
    turn_id: TurnId | None
    waiting: bool
    """Its turn waits. False: the result comes as a notification."""
    answered: bool = False
    """A Stop has told its end already."""
    timer: TimerHandle | None = None
    """Of a call that joined, and may hold up its turn for some seconds only."""


class TaskRecord:
    """All that is known of one task. A plain slots record: the ledger's own, never handed out."""

    __slots__ = (
        "approved",
        "attempt",
        "body",
        "call",
        "children",
        "created_at",
        "detach_timer",
        "detached",
        "ending",
        "error",
        "finished_at",
        "id",
        "job_id",
        "joined",
        "kind",
        "launch",
        "life",
        "limit_timer",
        "listeners",
        "on_complete",
        "progress",
        "resolution",
        "started_at",
        "status",
        "ticket",
        "to_loop",
        "token",
        "topic",
        "turn_token",
        "vars",
    )

    def __init__(self, task_id: TaskId, launch: TaskLaunch, kind: TaskKind, now: float) -> None:
        self.id = task_id
        self.launch = launch
        self.call: ToolCall = launch.call
        """What runs: approving with changed arguments changes it."""
        self.kind = kind
        self.detached = False
        self.status = TaskStatus.QUEUED
        self.attempt = 1
        self.life = 1
        """How often its id has been used. Work of an earlier life may not have stopped yet."""
        self.created_at = now
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.progress: Progress | None = None
        self.error: str | None = None
        self.on_complete = OnComplete(launch.policy.on_complete)
        self.to_loop = launch.policy.delivery == DeliveryMode.TO_LOOP
        self.ending: Ending | None = None
        self.resolution: Resolution | None = None
        self.token: CancelToken | None = None
        self.turn_token: CancelToken | None = None
        self.ticket: Ticket = Ticket(
            task_id, launch, in_step=kind is TaskKind.FOREGROUND and launch.turn_id is not None
        )
        self.job_id: str | None = None
        """The engine's job that carries the task out now; it may outlive the record's end."""
        self.topic: str | None = None
        """The approval that the job waits for in its body."""
        self.approved: set[tuple[str, str]] | None = None
        self.joined: list[Waiter] | None = None
        self.children: dict[TaskId, TaskRecord] | None = None
        self.body: object = None
        """The attempt whose work is going on; None: nothing of it is."""
        self.detach_timer: TimerHandle | None = None
        self.limit_timer: TimerHandle | None = None
        """Of the timeout first, then of the grace."""
        self.listeners: Sleepers | None = None
        self.vars: ContextVars | None = None
        """The context variables of the launch, kept while the task waits to start."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def fenced(self) -> bool:
        """Ended or about to: whatever the work still brings is not wanted."""
        return self.ending is not None or self.status in TERMINAL

    @property
    def foreground(self) -> bool:
        return self.kind is TaskKind.FOREGROUND

    @property
    def calls(self) -> tuple[Waiter, ...]:
        """Every call that this task answers."""
        first = Waiter(self.launch.call.id, self.launch.turn_id, self.foreground)
        return (first, *self.joined) if self.joined else (first,)


class Ledger:
    """All records of a manager."""

    def __init__(self, outbox: Outbox, limits: Limits) -> None:
        self._outbox = outbox
        self._limits = limits
        self._records: dict[TaskId, TaskRecord] = {}
        self._finished: OrderedDict[TaskId, TaskRecord] = OrderedDict()
        self._busy: dict[ConversationId, int] = {}
        self._ids = count(1)
        self.busy = 0
        """How many tasks are queued or running."""

    def create(self, launch: TaskLaunch, kind: TaskKind) -> TaskRecord:
        """Enter a new task, queued.

        Raises:
            DuplicateTaskError: A living task has this id.
        """
        task_id, life = launch.task_id, 1
        if task_id is None:
            task_id = TaskId(f"task-{next(self._ids)}")
            while task_id in self._records:  # a caller used it
                task_id = TaskId(f"task-{next(self._ids)}")
        elif (old := self._records.get(task_id)) is not None:
            if not old.ended:
                raise DuplicateTaskError(task_id, "task ids are unique among living tasks")
            self._forget(task_id)
            life = old.life + 1
        record = TaskRecord(task_id, launch, kind, self._outbox.now())
        record.life = life
        record.ticket.nested = self._works_for_its_turn(launch)
        self._records[task_id] = record
        self._count(launch.conversation_id, 1)
        self._queued(record)
        return record

    def requeue(self, record: TaskRecord) -> None:
        """Begin a new attempt: from waiting for an approval back to the queue."""
        record.attempt += 1
        self._move(record, TaskQueued)
        self._queued(record)

    def tell(self, record: TaskRecord, event: type[TaskEvent], **fields: object) -> None:
        """Move a record along the table, then send the event out.

        Raises:
            IllegalTransitionError: The table has no row for it; nothing was changed.
        """
        self._move(record, event)
        self._send(record, event, **fields)

    def start(self, record: TaskRecord) -> None:
        """An attempt begins to run."""
        self._move(record, TaskStarted)
        if record.started_at is None:
            record.started_at = self._outbox.now()
        self._send(record, TaskStarted, attempt=record.attempt)

    def detach(self, record: TaskRecord, reason: str) -> None:
        """The turn stops waiting."""
        self._move(record, TaskDetached)
        record.kind = TaskKind.BACKGROUND
        record.detached = True
        self._send(record, TaskDetached, reason=reason)

    def end(self, record: TaskRecord, event: type[TaskEvent]) -> float:
        """Enter the end, and return the task's duration. The event is sent by `announce`."""
        self._move(record, event)
        record.finished_at = now = self._outbox.now()
        self._finished[record.id] = record
        self._evict(now)
        return now - record.started_at if record.started_at is not None else 0.0

    def ask_end(self, record: TaskRecord, ending: Ending) -> None:
        """An end is asked for: from now on the task is fenced, and busy until it has stopped."""
        was_busy = _busy(record)
        record.ending = ending
        self._recount(record, was_busy)

    def announce(self, record: TaskRecord, event: type[TaskEvent], **fields: object) -> None:
        """Send the end out, once the result can be taken."""
        self._send(record, event, **fields)

    def progress(self, record: TaskRecord, progress: Progress) -> None:
        record.progress = progress
        launch = record.launch
        self._outbox.live(
            TaskProgressed,
            launch.conversation_id,
            turn_id=launch.turn_id,
            run_id=launch.run_id,
            parent_id=launch.parent_id,
            task_id=record.id,
            call_id=launch.call.id,
            name=record.call.name,
            fraction=progress.fraction,
            note=progress.note,
        )

    # -- looking ------------------------------------------------------------------------

    def find(self, task_id: TaskId) -> TaskRecord | None:
        return self._records.get(task_id)

    def get(self, task_id: TaskId) -> TaskRecord:
        """Return a task's record.

        Raises:
            TaskNotFoundError: It was never started here, or it ended and was evicted.
        """
        record = self._records.get(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        return record

    def records(self, conversation_id: ConversationId | None = None) -> Iterator[TaskRecord]:
        """All records, by creation."""
        for record in self._records.values():
            if conversation_id is None or record.launch.conversation_id == conversation_id:
                yield record

    def is_busy(self, conversation_id: ConversationId | None) -> bool:
        """Whether a task is queued or running."""
        return bool(self.busy if conversation_id is None else self._busy.get(conversation_id))

    def forget(self, conversation_id: ConversationId) -> None:
        """Drop the ended tasks of a conversation."""
        for record in list(self.records(conversation_id)):
            if record.ended:
                self._forget(record.id)

    # -- the one door -------------------------------------------------------------------

    def _move(self, record: TaskRecord, event: type[TaskEvent]) -> None:
        before = record.status
        after = apply(before, event)
        if after is before:
            return
        was_busy = _busy(record)
        record.status = after
        self._recount(record, was_busy)

    def _recount(self, record: TaskRecord, was_busy: bool) -> None:
        change = _busy(record) - was_busy
        if change:
            self._count(record.launch.conversation_id, change)

    def _send(self, record: TaskRecord, event: type[TaskEvent], **fields: object) -> None:
        launch = record.launch
        self._outbox.fact(
            event,
            launch.conversation_id,
            turn_id=launch.turn_id,
            run_id=launch.run_id,
            parent_id=launch.parent_id,
            task_id=record.id,
            call_id=launch.call.id,
            name=record.call.name,
            **fields,
        )

    def _queued(self, record: TaskRecord) -> None:
        self._send(record, TaskQueued, attempt=record.attempt, background=not record.foreground)

    def _works_for_its_turn(self, launch: TaskLaunch) -> bool:
        """Whether it was started, at whatever depth, by a call of its own turn."""
        parent_id, turn = launch.parent_id, (launch.conversation_id, launch.turn_id)
        while parent_id is not None and (parent := self._records.get(parent_id)) is not None:
            if (parent.launch.conversation_id, parent.launch.turn_id) == turn:
                return True
            parent_id = parent.launch.parent_id
        return False

    def _count(self, conversation_id: ConversationId, change: int) -> None:
        self.busy += change
        left = self._busy.get(conversation_id, 0) + change
        if left:
            self._busy[conversation_id] = left
        else:
            self._busy.pop(conversation_id, None)

    def _evict(self, now: float) -> None:
        finished = self._finished
        oldest_wanted = now - self._limits.finished_age
        while finished:
            task_id, record = next(iter(finished.items()))
            too_old = record.finished_at is not None and record.finished_at < oldest_wanted
            if not too_old and len(finished) <= self._limits.finished:
                return
            self._forget(task_id)

    def _forget(self, task_id: TaskId) -> None:
        self._records.pop(task_id, None)
        self._finished.pop(task_id, None)


def _busy(record: TaskRecord) -> bool:
    """Whether its conversation is not idle. A task that waits for a person keeps nobody busy,
    unless it is stopping: its end is about to come."""
    return record.status in BUSY or (record.ending is not None and not record.ended)
