"""The record of each task, and where records are kept.

Plain slots records, not frozen values: building and replacing those would be the whole price
of a task. They never leave the manager; what does is a snapshot.
"""

from asyncio import TimerHandle
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from contextvars import Context as ContextVars
from dataclasses import dataclass, field
from typing import Protocol

from sidetask.core.errors import TaskNotFoundError
from sidetask.core.events import TaskCancelled, TaskDenied, TaskTimedOut
from sidetask.core.ids import CallId, ConversationId, TaskId, TurnId, value
from sidetask.core.lifecycle import BUSY, TERMINAL, TaskStatus
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DeliveryMode, OnComplete, TaskKind
from sidetask.tasks.aio.outbox import Journal
from sidetask.tasks.aio.sleepers import Sleepers
from sidetask.tasks.aio.tokens import CancelToken
from sidetask.tasks.parts.permits import Limits, Ticket
from sidetask.tasks.values import Approval, Progress, Resolution, TaskLaunch, TaskObserver


@value
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


@dataclass(slots=True)
class Past:
    """What an earlier process has left of a task."""

    granted: Counter[str] = field(default_factory=Counter[str])
    """Questions of its body that were answered yes, by their reason: each is not asked again so
    often."""
    admitted: ToolCall | None = None
    """The call as policies and hooks have left it, while its job is out: they are not asked again
    about what has begun."""
    asked: list[Approval] = field(default_factory=list[Approval])
    """Questions that its body has asked elsewhere and that were open: it waits there, and asks
    each of them once more when it is heard of again."""

    def take_asked(self, reason: str) -> Approval | None:
        """The question of these words, which is asked once more."""
        found = next((each for each in self.asked if each.reason == reason), None)
        if found is not None:
            self.asked.remove(found)
        return found


class TaskRecord(Ticket):
    """All that is known of one task, and its claim to permits. A plain slots record: the ledger's
    own, never handed out."""

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
        "job_id",
        "joined",
        "journal",
        "kept",
        "kind",
        "life",
        "limit_timer",
        "listeners",
        "observer",
        "on_complete",
        "page",
        "past",
        "progress",
        "remote",
        "resolution",
        "started_at",
        "status",
        "to_loop",
        "token",
        "topic",
        "turn_token",
        "vars",
    )

    def __init__(  # noqa: PLR0915 - one line a field
        self, task_id: TaskId, launch: TaskLaunch, kind: TaskKind, journal: Journal, now: float
    ) -> None:
        in_step = kind is TaskKind.FOREGROUND and launch.turn_id is not None
        Ticket.__init__(self, task_id, launch, in_step=in_step)  # `super()` takes twice as long
        self.page = _BLANK
        """The ledger's, of its conversation."""
        self.call: ToolCall = launch.call
        """What runs: approving with changed arguments changes it."""
        self.journal = journal
        """Its conversation's way out for events."""
        self.kept = False
        """A restart finds it in the store."""
        self.past: Past | None = None
        """None: it began in this process."""
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
        self.on_complete: OnComplete = launch.policy.on_complete  # pyright: ignore[reportAttributeAccessIssue] - a policy normalises it
        self.to_loop = launch.policy.delivery is DeliveryMode.TO_LOOP
        self.ending: Ending | None = None
        self.resolution: Resolution | None = None
        self.token: CancelToken | None = None
        self.turn_token: CancelToken | None = None
        self.job_id: str | None = None
        """The engine's job that carries the task out now; it may outlive the record's end."""
        self.remote: str | None = None
        """The job in the store's queue by which another process carries out this attempt."""
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
        self.observer: TaskObserver | None = None
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
    def busy(self) -> bool:
        """Whether its conversation is not idle. A task that waits for a person keeps nobody
        busy, unless it is stopping: its end is about to come."""
        return self.status in BUSY or (self.ending is not None and not self.ended)

    @property
    def foreground(self) -> bool:
        return self.kind is TaskKind.FOREGROUND

    @property
    def calls(self) -> tuple[Waiter, ...]:
        """Every call that this task answers."""
        first = Waiter(self.launch.call.id, self.launch.turn_id, self.foreground)
        return (first, *self.joined) if self.joined else (first,)


class Keeping(Protocol):
    """Keeps tasks where a restart finds them. Hands over and never waits, unless it says so; what
    the store does not take now is handed over again later."""

    tag: str
    """Stands in the ids that are made here, and in no other process's."""

    def moved(self, record: TaskRecord) -> bool:
        """The task is in another status; False: nobody is told, for it goes on elsewhere."""
        ...

    def dropped(self, record: TaskRecord) -> None:
        """The task was never launched."""
        ...

    def posted(self, resolution: Resolution, *, to_loop: bool) -> None:
        """A result waits to be taken."""
        ...

    def taken(self, results: Iterable[Resolution]) -> None:
        """The host has taken these."""
        ...

    def asked(self, approval: Approval) -> None:
        """A question was asked, or is no longer needed."""
        ...

    def recall(self, asked: Approval, enter: Callable[[Approval], None]) -> None:
        """An earlier process has asked this: `enter` is called soon with its decision, if it was
        decided since."""
        ...

    def rule(
        self, decided: Approval, enter: Callable[[Approval], None], over: Callable[[], None]
    ) -> None:
        """Enter a decision; `enter` is called soon with the one that stands, which may be that of
        another process. `over` is called then, and when none could be entered."""
        ...

    def pay(self) -> None:
        """Hand over again what the store did not take."""
        ...

    async def safe(self) -> None:
        """Return when all that was handed over is stored."""
        ...


class Page:
    """The ledger's page of one conversation. The living records stand apart, so that no look at
    them costs more for what the conversation did before."""

    __slots__ = ("busy", "living", "records")

    def __init__(self) -> None:
        self.records: dict[TaskId, TaskRecord] = {}
        self.living: dict[TaskId, TaskRecord] = {}
        self.busy = 0
        """How many of them are queued or running."""


_BLANK = Page()
"""Of a conversation without tasks."""


class Records:
    """All records of a manager, a page for each conversation: the living, and the lately ended up
    to a number and an age."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.finished
        self._age = limits.finished_age
        self._all: dict[TaskId, TaskRecord] = {}
        self.pages: dict[ConversationId, Page] = {}
        self._ended: OrderedDict[TaskId, TaskRecord] = OrderedDict()
        self._oldest = 0.0
        """None of those that have ended did so before then."""

    def __contains__(self, task_id: TaskId) -> bool:
        return task_id in self._all

    def add(self, record: TaskRecord) -> None:
        """Keep a new record."""
        conversation_id, task_id = record.launch.conversation_id, record.id
        page = self.pages.get(conversation_id)
        if page is None:
            page = self.pages[conversation_id] = Page()
        record.page = page
        self._all[task_id] = page.records[task_id] = page.living[task_id] = record

    def end(self, record: TaskRecord, now: float) -> None:
        """The record lives no more; the oldest of its kind may be forgotten for it."""
        task_id, ended = record.id, self._ended
        del record.page.living[task_id]
        ended[task_id] = record
        if len(ended) > self._most:
            self.forget(ended.popitem(last=False)[1])
        if self._oldest < now - self._age:
            self._forget_old(now - self._age)

    def find(self, task_id: TaskId) -> TaskRecord | None:
        return self._all.get(task_id)

    def get(self, task_id: TaskId) -> TaskRecord:
        """Return a task's record.

        Raises:
            TaskNotFoundError: It was never started here, or it ended and was evicted.
        """
        record = self._all.get(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        return record

    def all(self, conversation_id: ConversationId | None = None) -> Collection[TaskRecord]:
        """All records, by creation."""
        if conversation_id is None:
            return self._all.values()
        return self.page(conversation_id).records.values()

    def living(self, conversation_id: ConversationId | None = None) -> Collection[TaskRecord]:
        """The records that have not ended, by creation."""
        if conversation_id is None:
            return [record for record in self._all.values() if not record.ended]
        return self.page(conversation_id).living.values()

    def page(self, conversation_id: ConversationId) -> Page:
        """The page of a conversation, to look at."""
        return self.pages.get(conversation_id, _BLANK)

    def forget(self, record: TaskRecord) -> None:
        """Drop an ended record."""
        self._all.pop(record.id, None)
        self._ended.pop(record.id, None)
        page = record.page
        page.records.pop(record.id, None)
        if not page.records and self.pages.get(record.launch.conversation_id) is page:
            del self.pages[record.launch.conversation_id]

    def forget_all(self, conversation_id: ConversationId) -> None:
        """Drop the ended records of a conversation."""
        for record in list(self.all(conversation_id)):
            if record.ended:
                self.forget(record)

    def _forget_old(self, horizon: float) -> None:
        """Forget those that ended before the horizon."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            self._oldest = oldest.finished_at or 0.0
            if self._oldest >= horizon:
                return
            self.forget(oldest)
