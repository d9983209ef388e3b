"""Tasks: from being queued to their one end, with what a person decides in between."""

from collections.abc import Mapping

from sidetask.core.events.base import Event, EventKind, fact
from sidetask.core.ids import ApprovalId, CallId, TaskId
from sidetask.core.jsons import Json


@fact
class TaskEvent(Event):
    """A fact about one task."""

    task_id: TaskId
    call_id: CallId
    """The call that started the task; calls that joined it stand in its snapshot."""
    name: str


@fact
class TaskQueued(TaskEvent):
    """The task exists and waits for its permits. A second attempt is queued anew."""

    kind = EventKind.TASK_QUEUED
    attempt: int
    background: bool
    executor: str | None = None
    """What carries it out, where that is not the tool of its name: an agent was invoked."""


@fact
class TaskStarted(TaskEvent):
    """An attempt of the task has begun."""

    kind = EventKind.TASK_STARTED
    attempt: int


@fact
class TaskProgressed(TaskEvent):
    """The task told how far it is."""

    kind = EventKind.TASK_PROGRESSED
    live = True
    index: int
    fraction: float | None
    """Between 0 and 1; None: unknown."""
    note: str

    @property
    def id(self) -> str:
        return f"{self.conversation_id}:{self.seq}.{self.index}"


@fact
class TaskDetached(TaskEvent):
    """The turn stopped waiting; the task goes on in the background."""

    kind = EventKind.TASK_DETACHED
    reason: str
    """`timer`, `host`, `interrupt` or `route`."""


@fact
class ApprovalRequested(TaskEvent):
    """A person has to decide before the task goes on."""

    kind = EventKind.APPROVAL_REQUESTED
    approval_id: ApprovalId
    arguments: str
    """The call's arguments as JSON text."""
    reason: str
    summary: str
    metadata: Mapping[str, Json]
    """Details that the tool gave with the question."""


@fact
class ApprovalDecided(TaskEvent):
    """An approval was decided, expired, or is no longer needed."""

    kind = EventKind.APPROVAL_DECIDED
    approval_id: ApprovalId
    decision: str
    by: str | None
    note: str | None


@fact
class TaskEnded(TaskEvent):
    """Base of the ends: exactly one for each task, when its work has stopped."""

    terminal = True
    owed = True
    duration: float
    """Seconds from the first start to the end; 0 if it never started."""

    @property
    def outcome(self) -> str:
        """The task's status now: `succeeded`, `failed`, `cancelled`, `timed_out`, `denied`."""
        return self.kind.value.removeprefix("task_")


@fact
class TaskSucceeded(TaskEnded):
    """The tool returned."""

    kind = EventKind.TASK_SUCCEEDED
    metadata: Mapping[str, Json]


@fact
class TaskFailed(TaskEnded):
    """The tool raised, or said that it failed."""

    kind = EventKind.TASK_FAILED
    error: str
    error_type: str


@fact
class TaskCancelled(TaskEnded):
    """The task was asked to stop, and has stopped or was given up."""

    kind = EventKind.TASK_CANCELLED
    reason: str
    abandoned: bool
    """The work did not stop within its grace and may still be running."""


@fact
class TaskTimedOut(TaskEnded):
    """An attempt ran longer than its policy allows."""

    kind = EventKind.TASK_TIMED_OUT
    timeout: float
    """Seconds that the attempt was allowed."""
    abandoned: bool


@fact
class TaskDenied(TaskEnded):
    """A person or a policy said no."""

    kind = EventKind.TASK_DENIED
    reason: str
    abandoned: bool = False


@fact
class ContinueRequested(Event):
    """Results are ready that ask for a turn of their own. Follows the end of its tasks."""

    kind = EventKind.CONTINUE_REQUESTED
    owed = True
    task_ids: tuple[TaskId, ...]
    interrupt: bool = False
    """They may cut a reply that is streaming."""
