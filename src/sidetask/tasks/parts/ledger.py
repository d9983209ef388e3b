"""Who is who: every task's status, and the one door through which it changes.

Synchronous. The table in `core.lifecycle` says what may follow what; a record moves along the
table, and then its event goes out.
"""

from itertools import count

from sidetask.core.errors import DuplicateTaskError
from sidetask.core.events import (
    TaskDetached,
    TaskEvent,
    TaskProgressed,
    TaskQueued,
    TaskStarted,
)
from sidetask.core.ids import ConversationId, TaskId
from sidetask.core.lifecycle import BUSY, TERMINAL, apply
from sidetask.core.routing import TaskKind
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.parts.permits import Limits
from sidetask.tasks.parts.records import Ending, Keeping, Records, TaskRecord
from sidetask.tasks.values import Progress, TaskLaunch


class Ledger:
    """All records of a manager."""

    def __init__(self, outbox: Outbox, limits: Limits, keeper: Keeping | None = None) -> None:
        self._outbox = outbox
        self._keeper = keeper
        self._prefix = "task-" if keeper is None else f"task-{keeper.tag}-"
        self.records = Records(limits)
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
            task_id = TaskId(f"{self._prefix}{next(self._ids)}")
            while task_id in self.records:  # a caller used it
                task_id = TaskId(f"{self._prefix}{next(self._ids)}")
        elif (old := self.records.find(task_id)) is not None:
            if not old.ended:
                raise DuplicateTaskError(task_id, "task ids are unique among living tasks")
            self.records.forget(old)
            life = old.life + 1
        journal = self._outbox.journal(launch.conversation_id)
        record = TaskRecord(task_id, launch, kind, journal, self._outbox.now())
        record.life = life
        if launch.parent_id is not None:
            record.nested = self._works_for_its_turn(launch)
        self.records.add(record)
        self._count(record, 1)
        try:
            self._queued(record)
        except BaseException:  # the one boundary: what the store refused was never launched
            self._count(record, -1)
            self.records.end(record, record.created_at)
            self.records.forget(record)
            if self._keeper is not None:
                self._keeper.dropped(record)
            raise
        return record

    def restore(self, record: TaskRecord) -> None:
        """Enter a living task that an earlier process has left; it told of it already.

        Raises:
            DuplicateTaskError: A living task has this id.
        """
        if record.id in self.records:
            raise DuplicateTaskError(record.id, "it was restored before")
        self.records.add(record)
        if record.busy:
            self._count(record, 1)

    def requeue(self, record: TaskRecord) -> None:
        """Begin a new attempt: from waiting for an approval back to the queue."""
        record.attempt += 1
        self._move(record, TaskQueued)
        self._queued(record)

    def begin_anew(self, record: TaskRecord) -> None:
        """Begin a new attempt of a restored task that is queued."""
        record.attempt += 1
        self._queued(record)

    def tell(self, record: TaskRecord, event: type[TaskEvent], **fields: object) -> None:
        """Move a record along the table, then send the event out, `fields` and all.

        Raises:
            IllegalTransitionError: The table has no row for it; nothing was changed.
        """
        self._move(record, event)
        self.send(record, event, fields)

    def start(self, record: TaskRecord) -> None:
        """An attempt begins to run."""
        self._move(record, TaskStarted)
        if record.started_at is None:
            record.started_at = self._outbox.now()
        self.send(record, TaskStarted, {"attempt": record.attempt})

    def detach(self, record: TaskRecord, reason: str) -> None:
        """The turn stops waiting."""
        self._move(record, TaskDetached)
        record.kind = TaskKind.BACKGROUND
        record.detached = True
        self.send(record, TaskDetached, {"reason": reason})

    def end(self, record: TaskRecord, event: type[TaskEvent]) -> float:
        """Enter the end, and return the duration. `send` tells it, once the result can be taken."""
        self._move(record, event)
        record.finished_at = now = self._outbox.now()
        self.records.end(record, now)
        return now - record.started_at if record.started_at is not None else 0.0

    def ask_end(self, record: TaskRecord, ending: Ending) -> None:
        """An end is asked for: from now on the task is fenced, and busy until it has stopped."""
        if not record.busy:
            self._count(record, 1)
        record.ending = ending

    def send(self, record: TaskRecord, event: type[TaskEvent], fields: dict[str, object]) -> None:
        """Send out an event of a record: its `fields`, and what it tells of its task."""
        if self._keeper is not None and not self._keeper.moved(record):
            return
        launch = record.launch
        fields["task_id"] = record.id
        fields["call_id"] = launch.call.id
        fields["name"] = record.call.name
        record.journal.enter(launch, event, fields)

    def progress(self, record: TaskRecord, progress: Progress) -> None:
        record.progress = progress
        launch = record.launch
        record.journal.live(
            launch,
            TaskProgressed,
            task_id=record.id,
            call_id=launch.call.id,
            name=record.call.name,
            fraction=progress.fraction,
            note=progress.note,
        )

    def hold(self, record: TaskRecord) -> None:
        """It may be about to go on: until `let_go` it counts as busy, whatever it waits for."""
        self._count(record, 1)

    def let_go(self, record: TaskRecord) -> None:
        self._count(record, -1)

    # -- looking ------------------------------------------------------------------------

    def is_busy(self, conversation_id: ConversationId | None) -> bool:
        """Whether a task is queued or running, or one that waits is being decided on."""
        busy = self.busy if conversation_id is None else self.records.page(conversation_id).busy
        return busy > 0

    # -- the one door -------------------------------------------------------------------

    def _move(self, record: TaskRecord, event: type[TaskEvent]) -> None:
        before = record.status
        after = record.status = apply(before, event)
        if record.ending is not None:  # busy until it has stopped
            change = -1 if after in TERMINAL else 0
        else:
            change = (after in BUSY) - (before in BUSY)
        if change:
            self._count(record, change)

    def _queued(self, record: TaskRecord) -> None:
        fields: dict[str, object] = {
            "attempt": record.attempt,
            "background": record.kind is TaskKind.BACKGROUND,
        }
        if record.launch.executor is not None:
            fields["executor"] = record.launch.executor
        self.send(record, TaskQueued, fields)

    def _works_for_its_turn(self, launch: TaskLaunch) -> bool:
        """Whether it was started, at whatever depth, by a call of its own turn."""
        parent_id, turn = launch.parent_id, (launch.conversation_id, launch.turn_id)
        while parent_id is not None and (parent := self.records.find(parent_id)) is not None:
            if (parent.launch.conversation_id, parent.launch.turn_id) == turn:
                return True
            parent_id = parent.launch.parent_id
        return False

    def _count(self, record: TaskRecord, change: int) -> None:
        self.busy += change
        record.page.busy += change
